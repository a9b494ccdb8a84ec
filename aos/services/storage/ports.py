"""What AOS asks of a store: rows with ETags, content-addressed values, append-only logs.

Every backend keeps these promises (one contract suite holds them to it):

- A call that returned has been made durable; a call that raised ``Conflict`` changed nothing.
- A call that raised ``Unavailable`` may or may not have happened: read before you decide.
- So may a call whose task was cancelled.

``limits`` says which names and sizes are taken; anything else is refused with ``InvalidInput`` or
``TooLarge`` before the store is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aos.kernel.errors import Conflict


class AlreadyExists(Conflict):
    """A row with that key is there already; ``table``, ``partition`` and ``key`` say which."""

    code = "already_exists"


class Stale(Conflict):
    """The row or log is not as the caller last saw it; read it again.

    For a row: ``table``, ``partition``, ``key``. For a log: ``log``, ``expected`` and ``actual`` size.
    """

    code = "stale"


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it was read or written; ``etag`` changes with every write."""

    partition: str
    key: str
    value: dict[str, Any]
    etag: str


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows in key order; ``next_key``, given as ``after``, goes on from here. None: no more."""

    rows: tuple[Row, ...]
    next_key: str | None


@dataclass(frozen=True, slots=True)
class Ref:
    """Names a large value by what it is: the SHA-256 in lower-case hex, and the size in bytes."""

    sha256: str
    size: int


class Rows(Protocol):
    """Tables of JSON objects. A table is made by its first use."""

    async def insert(self, table: str, partition: str, key: str, value: Mapping[str, Any]) -> Row:
        """Add a row. Of any number of concurrent inserts of one key, exactly one succeeds.

        Raises:
            AlreadyExists: the key is taken.
        """
        ...

    async def insert_many(self, table: str, partition: str, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Add rows, by key, to one partition: all of them or none.

        Raises:
            AlreadyExists: one of the keys is taken; ``key`` says which.
            TooLarge: more than ``MAX_BATCH_ROWS`` rows or ``MAX_BATCH_BYTES`` bytes of JSON.
        """
        ...

    async def get(self, table: str, partition: str, key: str) -> Row | None:
        """Return the row, or None."""
        ...

    async def replace(self, table: str, row: Row, value: Mapping[str, Any]) -> Row:
        """Give ``row`` a new value if it still has the etag that ``row`` carries.

        Raises:
            Stale: it was written or deleted since.
        """
        ...

    async def upsert(self, table: str, partition: str, key: str, value: Mapping[str, Any]) -> Row:
        """Write the row whether or not it is there."""
        ...

    async def delete(self, table: str, partition: str, key: str, etag: str | None = None) -> None:
        """Remove the row: whatever it is (missing is fine), or only if it still has ``etag``.

        Raises:
            Stale: an etag was given, and the row has another or is gone.
        """
        ...

    async def list(
        self, table: str, partition: str, *, prefix: str = "", after: str | None = None, limit: int = 100
    ) -> Page:
        """Return rows of a partition by key, ascending in code point order.

        Only keys that start with ``prefix`` and come after ``after``; at most ``limit`` (1 to
        ``MAX_PAGE_ROWS``) of them.
        """
        ...


class Blobs(Protocol):
    """Large values, each kept for an owner (a run, say) under the hash of its content."""

    async def put(self, container: str, owner: str, data: bytes) -> Ref:
        """Keep ``data`` for ``owner``; keeping the same twice is one value.

        Raises:
            TooLarge: more than ``MAX_BLOB_BYTES``.
        """
        ...

    async def get(self, container: str, owner: str, ref: Ref) -> bytes:
        """Return the value.

        Raises:
            NotFound: the owner has no such value.
            Integrity: what is stored does not have that hash and size.
        """
        ...

    async def delete(self, container: str, owner: str, ref: Ref) -> None:
        """Remove one value; missing is fine."""
        ...

    async def delete_owner(self, container: str, owner: str) -> None:
        """Remove all values of an owner."""
        ...


class Logs(Protocol):
    """Append-only byte logs. A log that was never appended to is empty: size 0."""

    async def append(self, log: str, expected_size: int, data: bytes) -> int:
        """Add ``data`` if the log is ``expected_size`` bytes long; return its new size in bytes.

        Readers see all of ``data`` or nothing of it.

        Raises:
            Stale: the log has another size, ``actual``.
            TooLarge: ``data`` is over ``MAX_APPEND_BYTES``, or the log has had ``MAX_APPENDS``.
        """
        ...

    async def read(self, log: str, offset: int = 0, limit: int | None = None) -> bytes:
        """Return the bytes from ``offset``, at most ``limit``; empty past the end."""
        ...

    async def size(self, log: str) -> int:
        """Return the size in bytes."""
        ...

    async def delete(self, log: str) -> None:
        """Remove the log; missing is fine."""
        ...
