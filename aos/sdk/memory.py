"""Memory that lives in this process alone: for trying and testing tools outside AOS."""

from __future__ import annotations

import json

from aos.kernel.canonical import Json
from aos.sdk.context import MemoryEntry, check_memory_key


class VolatileMemory:
    """The ``Memory`` port over a dict. It is gone with the process, and is not shared with any other."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[str, int]] = {}

    async def get(self, key: str) -> MemoryEntry | None:
        """Return the entry, or None when there is none."""
        entry = self._entries.get(check_memory_key(key))
        return None if entry is None else MemoryEntry(json.loads(entry[0]), str(entry[1]))

    async def insert(self, key: str, value: Json) -> bool:
        """Write a new entry; False when the key has one already."""
        if check_memory_key(key) in self._entries:
            return False
        self._entries[key] = (json.dumps(value, allow_nan=False), 1)
        return True

    async def replace(self, key: str, value: Json, version: str) -> bool:
        """Write over the entry of that version; False when it is not that one now."""
        entry = self._entries.get(check_memory_key(key))
        if entry is None or str(entry[1]) != version:
            return False
        self._entries[key] = (json.dumps(value, allow_nan=False), entry[1] + 1)
        return True
