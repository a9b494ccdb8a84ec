"""Storage of a deployment that stands by for another: whatever would write is refused, by whomever."""

from __future__ import annotations

from typing import Any, NoReturn, cast

from aos.kernel.errors import ReadOnly
from aos.services.storage.ports import Blobs, Logs, Rows
from aos.services.storage.storage import Storage


def standing_by(storage: Storage) -> Storage:
    """Return the same storage, which only reads."""
    return Storage(
        cast("Rows", _Reading(storage.rows, "get", "list")),
        reading(storage.blobs),
        cast("Logs", _Reading(storage.logs, "read", "size")),
        storage.close,
    )


def reading(blobs: Blobs) -> Blobs:
    """Return the same blobs, to be read alone."""
    return cast("Blobs", _Reading(blobs, "get"))


class _Reading:
    """A store's port that has its reading operations, and refuses every other."""

    def __init__(self, inner: Rows | Blobs | Logs, *reading: str) -> None:
        for name in reading:
            setattr(self, name, getattr(inner, name))

    def __getattr__(self, name: str) -> Any:
        return _refuse


async def _refuse(*_: object, **__: object) -> NoReturn:
    raise ReadOnly("this region stands by and changes nothing: ask the primary one, or promote this one")
