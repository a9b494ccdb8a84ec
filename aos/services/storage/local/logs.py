"""Append-only logs in SQLite: what one transaction adds is never seen in part."""

from __future__ import annotations

import sqlite3

from aos.services.storage.limits import check_append, check_appends, check_log, check_span
from aos.services.storage.local.database import Database
from aos.services.storage.ports import Stale


class LocalLogs:
    """The port ``Logs`` on a database of this machine."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, log: str, expected_size: int, data: bytes) -> int:
        """Add ``data`` if the log is ``expected_size`` bytes long."""
        check_append(log, expected_size, len(data))
        return await self._database.write(lambda db: _append(db, log, expected_size, data))

    async def read(self, log: str, offset: int = 0, limit: int | None = None) -> bytes:
        """Return the bytes from ``offset``, at most ``limit``."""
        check_span(log, offset, limit)
        return await self._database.read(lambda db: _read(db, log, offset, limit))

    async def size(self, log: str) -> int:
        """Return the size in bytes."""
        check_log(log)
        return (await self._database.read(lambda db: _head(db, log)))[0]

    async def delete(self, log: str) -> None:
        """Remove the log; missing is fine."""
        check_log(log)

        def delete(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM log_data WHERE log = ?", (log,))
            db.execute("DELETE FROM logs WHERE name = ?", (log,))

        await self._database.write(delete)


def _head(db: sqlite3.Connection, log: str) -> tuple[int, int]:
    """Return the size of a log and how often it was appended to."""
    found: tuple[int, int] | None = db.execute(
        "SELECT size, appends FROM logs WHERE name = ?", (log,)
    ).fetchone()
    return found or (0, 0)


def _append(db: sqlite3.Connection, log: str, expected_size: int, data: bytes) -> int:
    size, appends = _head(db, log)
    if size != expected_size:
        raise Stale(
            f"log {log} has {size} bytes, not {expected_size}", log=log, expected=expected_size, actual=size
        )
    check_appends(log, appends)
    db.execute("INSERT INTO log_data VALUES (?, ?, ?)", (log, size, data))
    db.execute("INSERT OR REPLACE INTO logs VALUES (?, ?, ?)", (log, size + len(data), appends + 1))
    return size + len(data)


def _read(db: sqlite3.Connection, log: str, offset: int, limit: int | None) -> bytes:
    size, _ = _head(db, log)
    end = size if limit is None else min(size, offset + limit)
    if offset >= end:
        return b""
    parts = db.execute(
        "SELECT start, data FROM log_data WHERE log = ?1 AND start < ?2 AND start >="
        " (SELECT max(start) FROM log_data WHERE log = ?1 AND start <= ?3) ORDER BY start",
        (log, end, offset),
    ).fetchall()
    first: int = parts[0][0]
    return b"".join(data for _, data in parts)[offset - first : end - first]
