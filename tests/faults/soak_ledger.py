"""What the outside world saw of a soak: one SQLite file written by activities, triggers and clients.

Only processes are killed in a soak, never the machine, so that a committed row stays without a sync.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS attempts (effect TEXT, given TEXT, token TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS effects (number INTEGER PRIMARY KEY, effect TEXT, receipt TEXT);
CREATE INDEX IF NOT EXISTS effects_by_name ON effects (effect);
CREATE TABLE IF NOT EXISTS updates (entity TEXT, operation TEXT PRIMARY KEY, acknowledged INTEGER);
CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY, queue TEXT, session TEXT, message TEXT, sequence INTEGER, delivery INTEGER,
    event TEXT);
"""


class TooLate(Exception):
    """Whoever asked for an effect may no longer have it."""


class Ledger:
    """The ledger at a path; each method commits before it returns."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        with self._connect() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA)

    def attempt(self, effect: str, given: str | None = None) -> str:
        """An activity runs after it was given this; the token of this execution."""
        token = uuid.uuid4().hex
        self._write("INSERT INTO attempts VALUES (?,?,?)", effect, given, token)
        return token

    def happen(self, effect: str, *, before: float, honours_key: bool) -> str:
        """The effect happens, once more, unless the world honours its name as a key; the receipt.

        Raises TooLate, and nothing happens, from that moment on.
        """
        with self._connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            if time.time() >= before:
                raise TooLate(effect)
            known = _receipt(connection, effect) if honours_key else None
            if known is None:
                known = uuid.uuid4().hex
                connection.execute("INSERT INTO effects (effect, receipt) VALUES (?,?)", (effect, known))
            return known

    def receipt(self, effect: str) -> str | None:
        """The receipt of the effect if it has happened; waits for one that is just happening."""
        with self._connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            return _receipt(connection, effect)

    def intend(self, entity: str, operation: str) -> None:
        """An update is about to be sent; until it is acknowledged it may happen or not, but not twice."""
        self._write("INSERT INTO updates VALUES (?,?,0)", entity, operation)

    def acknowledged(self, operation: str) -> None:
        """The update was acknowledged: it must happen, once."""
        self._write("UPDATE updates SET acknowledged=1 WHERE operation=?", operation)

    def delivery(self, queue: str, message: Any, event: str, *, name: str | None = None) -> None:
        """A message was `taken`, `handled` so that it may be settled, or `settled` and that acknowledged.

        The message is one of the SDK's or one that a function gets: each says how often it was delivered.
        One that was sent without an id is given a name.
        """
        self._write(
            "INSERT INTO deliveries (queue, session, message, sequence, delivery, event)"
            " VALUES (?,?,?,?,?,?)",
            queue, message.session_id, name or message.message_id, message.sequence_number,
            message.delivery_count, event,
        )  # fmt: skip

    def again(self) -> dict[str, int]:
        """What happened more often than once, as it may."""
        counts = {
            "activities": "SELECT count(*) - count(DISTINCT effect) FROM attempts",
            "deliveries": "SELECT count(*) - count(DISTINCT sequence || queue) FROM deliveries"
            " WHERE event='taken'",
        }
        return {what: self.rows(sql)[0][0] for what, sql in counts.items()}

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self._connect() as connection:
            return connection.execute(sql, parameters).fetchall()

    def _write(self, sql: str, *parameters: Any) -> None:
        with self._connect() as connection:
            connection.execute(sql, parameters)

    def _connect(self) -> _Connection:
        return _Connection(self._path)


def _receipt(connection: sqlite3.Connection, effect: str) -> str | None:
    row = connection.execute("SELECT receipt FROM effects WHERE effect=?", (effect,)).fetchone()
    return str(row[0]) if row else None


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
