"""What the outside world saw of a soak: one SQLite file written by activities, triggers and clients.

Only processes are killed in a soak, never the machine, so that a committed row stays without a sync.
"""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS attempts (effect TEXT, given TEXT, token TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS effects (effect TEXT PRIMARY KEY, receipt TEXT);
CREATE TABLE IF NOT EXISTS updates (entity TEXT, operation TEXT PRIMARY KEY, acknowledged INTEGER);
CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY, queue TEXT, session TEXT, message TEXT, sequence INTEGER, event TEXT);
"""


class Ledger:
    """The ledger at a path; each method commits before it returns."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        with self._connect() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA)

    def attempt(self, effect: str, given: str) -> str:
        """An activity runs with this input; the token of this execution."""
        token = uuid.uuid4().hex
        self._write("INSERT INTO attempts VALUES (?,?,?)", effect, given, token)
        return token

    def once(self, effect: str, receipt: str) -> str:
        """The effect happens unless it has; the receipt of when it did."""
        self._write("INSERT OR IGNORE INTO effects VALUES (?,?)", effect, receipt)
        return str(self.rows("SELECT receipt FROM effects WHERE effect=?", effect)[0][0])

    def intend(self, entity: str, operation: str) -> None:
        """An update is about to be sent; until it is acknowledged it may happen or not, but not twice."""
        self._write("INSERT INTO updates VALUES (?,?,0)", entity, operation)

    def acknowledged(self, operation: str) -> None:
        """The update was acknowledged: it must happen, once."""
        self._write("UPDATE updates SET acknowledged=1 WHERE operation=?", operation)

    def delivery(self, queue: str, session: str | None, message: str, sequence: int, event: str) -> None:
        """A message was `taken`, or its settlement was acknowledged (`settled`)."""
        self._write(
            "INSERT INTO deliveries (queue, session, message, sequence, event) VALUES (?,?,?,?,?)",
            queue, session, message, sequence, event,
        )  # fmt: skip

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self._connect() as connection:
            return connection.execute(sql, parameters).fetchall()

    def _write(self, sql: str, *parameters: Any) -> None:
        with self._connect() as connection:
            connection.execute(sql, parameters)

    def _connect(self) -> _Connection:
        return _Connection(self._path)


class _Connection(sqlite3.Connection):
    """A connection that its block closes: the ledger's users are threads of several processes."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, timeout=30)
        self.execute("PRAGMA synchronous=OFF")

    def __exit__(self, *failure: Any) -> Any:
        try:
            return super().__exit__(*failure)
        finally:
            self.close()
