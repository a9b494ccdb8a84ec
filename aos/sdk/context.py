"""What a tool is given besides its arguments: who calls, under which key, and durable memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from aos.kernel.canonical import Json
from aos.kernel.errors import InvalidInput

MEMORY_KEY_PATTERN = r"[a-z0-9_.-]{1,128}"
_MEMORY_KEY = re.compile(MEMORY_KEY_PATTERN)


@dataclass(frozen=True, slots=True)
class MemoryEntry:
    """A value in memory and the version that it has now; every write gives another version."""

    value: Json
    version: str


class Memory(Protocol):
    """The system call for an application's durable state.

    Keys are of the form `[a-z0-9_.-]{1,128}` and belong to one tenant and one application. Every
    write is conditional, so that two calls at once never lose one another's change: read, decide,
    ``replace`` with the version that was read, and begin again when the answer is False.
    """

    async def get(self, key: str) -> MemoryEntry | None:
        """Return the entry, or None when there is none."""

    async def insert(self, key: str, value: Json) -> bool:
        """Write a new entry; False, and nothing written, when the key has one already."""

    async def replace(self, key: str, value: Json, version: str) -> bool:
        """Write over the entry of that version; False, and nothing written, when it is not that one now."""


def check_memory_key(key: str) -> str:
    """Return ``key`` if it is a legal key of memory.

    Raises:
        InvalidInput: naming the pattern that is allowed.
    """
    if not _MEMORY_KEY.fullmatch(key):
        raise InvalidInput(f"memory key {key!r} is not of the form {MEMORY_KEY_PATTERN}", key=key)
    return key


@dataclass(frozen=True, slots=True)
class ToolContext:
    """The call that a tool is in. A parameter annotated with it is filled in and is not an argument."""

    tenant: str
    run_id: str
    step: str
    idempotency_key: str
    """The effect's id, 32 hex digits: the same for every attempt at this call, and for no other call."""
    deadline: float
    """Unix seconds: past it the caller has given up waiting, and another attempt may have begun."""
    memory: Memory
