"""The durable memory that applications are given, on rows."""

from __future__ import annotations

from aos.kernel.canonical import Json
from aos.sdk.context import MemoryEntry, check_memory_key
from aos.services.storage import layout
from aos.services.storage.ports import AlreadyExists, Row, Rows, Stale

TABLE = layout.MEMORY


class StoredMemory:
    """The memory of one application of one tenant."""

    def __init__(self, rows: Rows, tenant: str, application: str) -> None:
        self._rows = rows
        self._partition = f"{tenant}.{application}"

    async def get(self, key: str) -> MemoryEntry | None:
        """Return the entry, or None when there is none."""
        row = await self._rows.get(TABLE, self._partition, check_memory_key(key))
        return None if row is None else MemoryEntry(row.value["value"], row.etag)

    async def insert(self, key: str, value: Json) -> bool:
        """Write a new entry; False when the key has one already."""
        try:
            await self._rows.insert(TABLE, self._partition, check_memory_key(key), {"value": value})
        except AlreadyExists:
            return False
        return True

    async def replace(self, key: str, value: Json, version: str) -> bool:
        """Write over the entry of that version; False when it is not that one now."""
        row = Row(self._partition, check_memory_key(key), {}, version)
        try:
            await self._rows.replace(TABLE, row, {"value": value})
        except Stale:
            return False
        return True
