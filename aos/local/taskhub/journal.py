"""Group commit: the loop collects row changes, one thread writes them, many turns to an fsync.

Changes made on the loop between two awaits always land in the same group, so they are one transaction.
Groups are written in the order in which they were made, each while the next one is filling. A change that
nothing waits for may wait itself, for `_PATIENCE_S` at most, for others to be written with it.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from aos.local.taskhub.schema import HISTORY, TABLES, Table

_log = logging.getLogger(__name__)

Row = tuple[Any, ...]

# Rows written by one statement: fewer, larger statements mean fewer hand-overs of the interpreter lock.
_ROWS_AT_ONCE = (64, 8, 1)

# What the next change mostly undoes, such as a message that its receiver consumes, is then never written.
_PATIENCE_S = 0.005

_PAGES_SHRUNK = 2000
_ALL_PAGES = 2**31


class Group:
    """The changes of one transaction: at most one row for each key, the last one put."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.waiting: list[asyncio.Future[None]] = []
        self.rows: defaultdict[Table, dict[Any, Row]] = defaultdict(dict)
        self.deleted: defaultdict[Table, set[Any]] = defaultdict(set)
        self.new: set[tuple[Table, Any]] = set()  # rows among them that were never written
        self.after: list[Callable[[], None]] = []
        self.erase = False
        self.shrink = 0  # free pages to give back; once written, those that are left to give

    def __bool__(self) -> bool:
        return bool(
            self.erase or self.shrink or any(self.rows.values()) or any(self.deleted.values()) or self.after
        )

    def settle(self, error: BaseException | None) -> None:
        """Tell all who wait for it what became of it."""
        for future in self.waiting:
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)


class Journal:
    """Writes groups of changes to the database, on a thread of its own.

    When a write fails, `on_failure` is called on the loop: whatever was changed in memory since the
    last commit is void, and every caller waiting for `flushed()` gets the error.
    """

    def __init__(self, connection: sqlite3.Connection, on_failure: Callable[[BaseException], None]) -> None:
        self._connection = connection
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._handed_over: queue.SimpleQueue[Group | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="taskhub-journal", daemon=True)
        self._writing: Group | None = None
        self._open = Group(1)
        self._idle = asyncio.Event()
        self._idle.set()
        self._waits: asyncio.Handle | None = None  # what will hand the open group over
        self._urgent = False  # it will do so in this turn of the loop
        self.writes = 0
        self.committed = 0
        self._thread.start()

    @property
    def number(self) -> int:
        """The number of the group now being filled."""
        return self._open.number

    def put(self, table: Table, row: Row) -> None:
        """Insert the row or replace the one with its key."""
        self._open.rows[table][row[0] if table.keys == 1 else row[: table.keys]] = row
        self._touched()

    def insert(self, table: Table, row: Row) -> None:
        """As `put`, for a row whose key was never used before."""
        self._open.new.add((table, row[0]))
        self.put(table, row)

    def delete(self, table: Table, key: Any) -> None:
        """Delete the row with this key; for a history, all rows of the instance."""
        rows = self._open.rows[table]
        if table is HISTORY:
            for each in [each for each in rows if each[0] == key]:
                del rows[each]
        else:
            rows.pop(key, None)
        if (table, key) in self._open.new:
            self._open.new.discard((table, key))
        else:
            self._open.deleted[table].add(key)
        self._touched()

    def erase(self) -> None:
        """Delete all rows of all tables."""
        self._open.rows.clear()
        self._open.deleted.clear()
        self._open.new.clear()
        self._open.erase = True
        self._touched()

    def shrink(self) -> None:
        """Give the pages that deletions have freed back to the file system, some with each commit."""
        self._open.shrink = _ALL_PAGES
        self._touched()

    def pending_row(self, table: Table, key: Any) -> Row | None:
        """The row put under this key, while it is not yet on disk."""
        # Looked up without touching the dictionaries: the writing thread may be reading them.
        row = self._open.rows.get(table, {}).get(key)
        if row is None and self._writing is not None:
            row = self._writing.rows.get(table, {}).get(key)
        return row

    def pending_rows(self, table: Table) -> list[Row]:
        """The rows that were put and are not yet on disk."""
        groups = (group for group in (self._writing, self._open) if group is not None)
        return [row for group in groups for row in group.rows.get(table, {}).values()]

    def after(self, callback: Callable[[], None]) -> None:
        """Call back, on the loop, once the open group is on disk."""
        self._open.after.append(callback)
        self._touched()
        self._hurry()

    def flushed(self) -> asyncio.Future[None]:
        """Done when all that was put so far is on disk; raises what kept it from getting there."""
        flushed = self._loop.create_future()
        self._hurry()
        group = self._open if self._open else self._writing
        if group is None:
            flushed.set_result(None)
        else:
            group.waiting.append(flushed)
        return flushed

    def abandon(self, error: BaseException) -> None:
        """Throw the open group away: a change broke off half-way."""
        self.forget_callbacks()
        group, self._open = self._open, Group(self._open.number + 1)
        group.settle(error)
        self._on_failure(error)

    def forget_callbacks(self) -> None:
        """Call nobody back: what they would act on is no longer in memory."""
        for group in (self._open, self._writing):
            if group is not None:
                group.after.clear()

    async def idle(self) -> None:
        """Wait until nothing is being written."""
        await self._idle.wait()

    async def close(self) -> None:
        """Write what is open and end the thread."""
        while self._open or self._writing:
            await asyncio.gather(self.flushed(), return_exceptions=True)
            await asyncio.sleep(0)
        self._handed_over.put(None)
        await asyncio.to_thread(self._thread.join)

    def _touched(self) -> None:
        self.writes += 1
        if self._idle.is_set():
            self._idle.clear()
            self._urgent = False
            self._waits = self._loop.call_later(_PATIENCE_S, self._hand_over)

    def _hurry(self) -> None:
        if self._waits is not None and not self._urgent:
            self._urgent = True
            self._waits.cancel()
            # Later in this turn of the loop, so that requests that arrived together are written together.
            self._waits = self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._waits = None
        if not self._open:
            self._idle.set()
            return
        self._writing, self._open = self._open, Group(self._open.number + 1)
        self._handed_over.put(self._writing)

    def _run(self) -> None:
        while (group := self._handed_over.get()) is not None:
            error: BaseException | None = None
            try:
                self._write(group)
            except Exception as failure:  # noqa: BLE001 - whatever it was, the loop decides what it means
                error = failure
            self._loop.call_soon_threadsafe(self._written, group, error)

    def _written(self, group: Group, error: BaseException | None) -> None:
        self._writing = None
        try:
            if error is None:
                self.committed = group.number
                if group.shrink:
                    self._open.shrink = max(self._open.shrink, group.shrink)
                group.settle(None)
                for callback in group.after:
                    callback()
            else:
                group.settle(error)
                self.abandon(error)
        finally:
            self._hand_over()

    def _write(self, group: Group) -> None:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            if group.erase:
                for table in TABLES:
                    execute(f"DELETE FROM {table.name}")  # noqa: S608 - names from the schema
            for table, keys in group.deleted.items():
                self._delete(table, list(keys))
            for table, rows in group.rows.items():
                self._upsert(table, list(rows.values()))
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        if group.shrink:
            group.shrink = self._shrink(group.shrink)

    def _shrink(self, pages: int) -> int:
        """Give up to so many free pages back, some now; how many are left to give."""
        execute = self._connection.execute
        try:
            free: int = execute("PRAGMA freelist_count").fetchone()[0]
            execute(f"PRAGMA incremental_vacuum({_PAGES_SHRUNK})").fetchall()
        except sqlite3.Error as error:
            # The group itself is on disk: nobody who waits for it is to hear of this.
            _log.warning("the free space of the database stays in its file: %s", error)
            return 0
        # Counted down: pages that later work frees are for later work to use.
        return max(min(pages, free) - _PAGES_SHRUNK, 0)

    def _delete(self, table: Table, keys: list[Any]) -> None:
        for count, chunk in _chunks(keys):
            marks = ",".join("?" * count)
            # Names come from the schema, never from a request.
            self._connection.execute(f"DELETE FROM {table.name} WHERE {table.columns[0]} IN ({marks})", chunk)  # noqa: S608

    def _upsert(self, table: Table, rows: list[Row]) -> None:
        names = ",".join(table.columns)
        keys = ",".join(table.columns[: table.keys])
        changes = ",".join(f"{name}=excluded.{name}" for name in table.changing)
        one = f"({','.join('?' * len(table.columns))})"
        for count, chunk in _chunks(rows):
            values = ",".join([one] * count)
            self._connection.execute(
                f"INSERT INTO {table.name} ({names}) VALUES {values} "  # noqa: S608
                f"ON CONFLICT ({keys}) DO UPDATE SET {changes}",
                [value for row in chunk for value in row],
            )


def _chunks[T](items: list[T]) -> list[tuple[int, list[T]]]:
    """Cut into few sizes, so that few statements are compiled."""
    chunks = []
    at = 0
    for size in _ROWS_AT_ONCE:
        while len(items) - at >= size:
            chunks.append((size, items[at : at + size]))
            at += size
    return chunks
