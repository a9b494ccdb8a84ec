"""Rows in SQLite."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping
from typing import Any

from aos.services.storage.limits import check_listing, check_row, encode_row, encode_rows
from aos.services.storage.local.database import Database
from aos.services.storage.ports import AlreadyExists, Page, Row, Stale

type _Address = tuple[str, str, str]  # table, partition, key


class LocalRows:
    """The port ``Rows`` on a database of this machine."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, table: str, partition: str, key: str, value: Mapping[str, Any]) -> Row:
        """Add a row."""
        check_row(table, partition, key)
        data = encode_row(value)
        etag = _new_etag()

        def insert(db: sqlite3.Connection) -> None:
            _refuse_taken(db, (table, partition, key))
            _put(db, (table, partition, key), etag, data)

        await self._database.write(insert)
        return _row(partition, key, etag, data)

    async def insert_many(self, table: str, partition: str, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Add rows to one partition: all of them or none."""
        encoded = encode_rows(table, partition, values)

        def insert(db: sqlite3.Connection) -> None:
            for key, data in encoded.items():
                _refuse_taken(db, (table, partition, key))
                _put(db, (table, partition, key), _new_etag(), data)

        await self._database.write(insert)

    async def get(self, table: str, partition: str, key: str) -> Row | None:
        """Return the row, or None."""
        check_row(table, partition, key)

        def select(db: sqlite3.Connection) -> Any:
            return db.execute(
                "SELECT etag, value FROM rows WHERE name = ? AND partition = ? AND key = ?",
                (table, partition, key),
            ).fetchone()

        found = await self._database.read(select)
        return _row(partition, key, *found) if found else None

    async def replace(self, table: str, row: Row, value: Mapping[str, Any]) -> Row:
        """Give ``row`` a new value if it still has its etag."""
        check_row(table, row.partition, row.key)
        data = encode_row(value)
        etag = _new_etag()
        at = (table, row.partition, row.key)

        def update(db: sqlite3.Connection) -> None:
            _refuse_stale(db, at, row.etag)
            _put(db, at, etag, data)

        await self._database.write(update)
        return _row(row.partition, row.key, etag, data)

    async def upsert(self, table: str, partition: str, key: str, value: Mapping[str, Any]) -> Row:
        """Write the row whether or not it is there."""
        check_row(table, partition, key)
        data = encode_row(value)
        etag = _new_etag()
        await self._database.write(lambda db: _put(db, (table, partition, key), etag, data))
        return _row(partition, key, etag, data)

    async def delete(self, table: str, partition: str, key: str, etag: str | None = None) -> None:
        """Remove the row, whatever it is or only if it still has ``etag``."""
        check_row(table, partition, key)

        def delete(db: sqlite3.Connection) -> None:
            if etag is not None:
                _refuse_stale(db, (table, partition, key), etag)
            db.execute(
                "DELETE FROM rows WHERE name = ? AND partition = ? AND key = ?", (table, partition, key)
            )

        await self._database.write(delete)

    async def list(
        self, table: str, partition: str, *, prefix: str = "", after: str | None = None, limit: int = 100
    ) -> Page:
        """Return rows of a partition by key."""
        check_listing(table, partition, prefix, after, limit)

        def select(db: sqlite3.Connection) -> list[Any]:
            return db.execute(
                "SELECT key, etag, value FROM rows WHERE name = ? AND partition = ? AND key > ?"
                " AND key >= ? AND key < ? ORDER BY key LIMIT ?",
                # DEL comes after every character that a key may have.
                (table, partition, after or "", prefix, prefix + "\x7f", limit + 1),
            ).fetchall()

        found = [_row(partition, *columns) for columns in await self._database.read(select)]
        page = tuple(found[:limit])
        return Page(page, page[-1].key if len(found) > limit else None)


def _new_etag() -> str:
    """Return an etag that was never used, so that a row made anew does not pass for the old one."""
    return secrets.token_hex(8)


def _row(partition: str, key: str, etag: str, data: bytes) -> Row:
    return Row(partition, key, json.loads(data), etag)


def _put(db: sqlite3.Connection, at: _Address, etag: str, data: bytes) -> None:
    db.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?)", (*at, etag, data))


def _etag(db: sqlite3.Connection, at: _Address) -> str | None:
    found = db.execute("SELECT etag FROM rows WHERE name = ? AND partition = ? AND key = ?", at).fetchone()
    return found[0] if found else None


def _refuse_taken(db: sqlite3.Connection, at: _Address) -> None:
    if _etag(db, at) is not None:
        table, partition, key = at
        raise AlreadyExists(
            f"{table} already has a row {partition}/{key}", table=table, partition=partition, key=key
        )


def _refuse_stale(db: sqlite3.Connection, at: _Address, etag: str) -> None:
    if _etag(db, at) != etag:
        table, partition, key = at
        raise Stale(
            f"row {partition}/{key} of {table} was changed", table=table, partition=partition, key=key
        )
