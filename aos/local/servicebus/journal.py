"""The journal: everything the broker acknowledges, in SQLite, written by one thread in groups.

The loop hands over statements and gets a future; the writer takes all that has gathered, commits it in
one transaction (WAL, synchronous=FULL: one fsync) and resolves the futures in order. A submission that
cannot be written is rolled back alone and its future fails. What has happened already and cannot be
refused (a lock that expired) is *recorded*: it is written before anything later, tried again until it is.

Pages that settled messages leave are used again; when nothing is to be written, they go to the file system.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from aos.local.servicebus.errors import BrokerError, DatabaseError, ServerBusyError, StorageFullError

Statement = tuple[str, tuple[Any, ...]]

SCHEMA_VERSION = 1
_RETRY_S = 0.5
_IDLE_S = 0.5
_MAX_GROUP = 4096
_PAGES_KEPT = 256  # free pages that stay in the file for messages to come
_PAGES_SHRUNK = 2000  # given back to the file system in one step
_LARGEST_WAL_BYTES = 16 * 1024 * 1024
_SCHEMA = """
CREATE TABLE messages (
    id INTEGER PRIMARY KEY, entity TEXT NOT NULL, sequence INTEGER NOT NULL, raw BLOB NOT NULL,
    message_id TEXT, session_id TEXT, enqueued_ms INTEGER NOT NULL, state INTEGER NOT NULL,
    scheduled_ms INTEGER NOT NULL, ttl_ms INTEGER, delivery_count INTEGER NOT NULL, lock_token BLOB,
    locked_until_ms INTEGER NOT NULL, enqueued_sequence INTEGER NOT NULL,
    dl_source TEXT, dl_reason TEXT, dl_description TEXT);
CREATE TABLE sequences (entity TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE duplicates (
    entity TEXT NOT NULL, message_id TEXT NOT NULL, seen_ms INTEGER NOT NULL,
    PRIMARY KEY (entity, message_id)) WITHOUT ROWID;
CREATE TABLE sessions (
    entity TEXT NOT NULL, session_id TEXT NOT NULL, state BLOB, updated_ms INTEGER NOT NULL,
    PRIMARY KEY (entity, session_id)) WITHOUT ROWID;
"""

INSERT_MESSAGE = "INSERT INTO messages VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
UPDATE_MESSAGE = (
    "UPDATE messages SET entity=?, sequence=?, enqueued_ms=?, state=?, delivery_count=?, lock_token=?,"
    " locked_until_ms=?, enqueued_sequence=?, dl_source=?, dl_reason=?, dl_description=? WHERE id=?"
)
# A description of NULL: the topology's rule of that name was removed.
_RULES = """
CREATE TABLE IF NOT EXISTS rules (
    entity TEXT NOT NULL, name TEXT NOT NULL, description BLOB, PRIMARY KEY (entity, name)) WITHOUT ROWID
"""
PUT_RULE = "INSERT OR REPLACE INTO rules VALUES (?,?,?)"
REWRITE_MESSAGE = "UPDATE messages SET raw=? WHERE id=?"
DELETE_MESSAGE = "DELETE FROM messages WHERE id=?"
PUT_SEQUENCE = "INSERT INTO sequences VALUES (?,?) ON CONFLICT DO UPDATE SET last=max(last, excluded.last)"
PUT_DUPLICATE = "INSERT OR REPLACE INTO duplicates VALUES (?,?,?)"
FORGET_DUPLICATE = "DELETE FROM duplicates WHERE entity=? AND message_id=?"
DELETE_SESSION = "DELETE FROM sessions WHERE entity=? AND session_id=?"
PUT_SESSION = "INSERT OR REPLACE INTO sessions VALUES (?,?,?,?)"


class _Submission:
    __slots__ = ("future", "recorded", "statements")

    def __init__(self, statements: Sequence[Statement], future: asyncio.Future[None] | None) -> None:
        self.statements = statements
        self.future = future
        self.recorded = future is None


class Journal:
    """One SQLite file (or memory, for None) and its writer thread; use from one event loop."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._gathered: list[_Submission] = []
        self._queue: queue.SimpleQueue[list[_Submission] | None] = queue.SimpleQueue()
        self._backlog: list[_Submission] = []
        self._shrinkable = False
        self._closed = False
        self._last_id: int = self.rows("SELECT coalesce(max(id), 0) FROM messages")[0][0]
        self._thread = threading.Thread(target=self._write, name="servicebus-journal", daemon=True)
        self._thread.start()

    @classmethod
    async def open(cls, path: Path | None) -> "Journal":
        """Open or create the file. Raises DatabaseError, naming the file and what is wrong with it."""
        connection = await asyncio.to_thread(_connect, path)
        return cls(connection)

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows read at start, before anything is submitted."""
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise DatabaseError(f"the message database cannot be read: {error}") from error

    def next_id(self) -> int:
        """A message id that no row has."""
        self._last_id += 1
        return self._last_id

    def submit(self, statements: Sequence[Statement]) -> asyncio.Future[None]:
        """Write these or none; the future is done when they are on disk, or fails with a BrokerError."""
        future = self._loop.create_future()
        self._hand_over(_Submission(statements, future))
        return future

    def record(self, statements: Sequence[Statement]) -> None:
        """Write what has already happened, in order, however often it takes."""
        self._hand_over(_Submission(statements, None))

    async def close(self) -> None:
        """Write what is left and close the file."""
        self._flush()
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._connection.close()

    def _hand_over(self, submission: _Submission) -> None:
        if self._closed:
            if submission.future is not None:
                submission.future.set_exception(ServerBusyError("the broker is closed"))
            return
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.append(submission)

    def _flush(self) -> None:
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    def _write(self) -> None:
        open_ = True
        while open_:
            group, open_ = self._take()
            group, self._backlog = self._backlog + group, []
            if not group:
                self._shrinkable = open_ and self._shrink()
                continue
            self._shrinkable = True
            failures = self._commit_each(group) if self._commit(group) is not None else {}
            self._loop.call_soon_threadsafe(_resolve, group, failures)

    def _shrink(self) -> bool:
        """Give some free pages back to the file system; whether more are left to give."""
        try:
            free = self._free_pages()
            if free > _PAGES_KEPT:
                self._connection.execute(f"PRAGMA incremental_vacuum({_PAGES_SHRUNK})").fetchall()
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return _PAGES_KEPT < self._free_pages() < free
        except sqlite3.Error:  # it is tried again after the next write
            return False

    def _free_pages(self) -> int:
        count: int = self._connection.execute("PRAGMA freelist_count").fetchone()[0]
        return count

    def _take(self) -> tuple[list[_Submission], bool]:
        """All submissions that wait (none if it waits for long), and whether more may come."""
        group: list[_Submission] = []
        pause_s = _IDLE_S if self._shrinkable else None
        try:
            item = self._queue.get(timeout=_RETRY_S if self._backlog else pause_s)
            while item is not None:
                group += item
                if len(group) >= _MAX_GROUP:
                    return group, True
                item = self._queue.get_nowait()
        except queue.Empty:
            return group, True
        return group, False

    def _commit(self, group: Iterable[_Submission]) -> BrokerError | None:
        statements = [statement for submission in group for statement in submission.statements]
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for sql, run in groupby(statements, key=lambda statement: statement[0]):
                self._connection.executemany(sql, [parameters for _, parameters in run])
            self._connection.execute("COMMIT")
        except (sqlite3.Error, OverflowError) as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            return _refusal(error)
        return None

    def _commit_each(self, group: list[_Submission]) -> dict[int, BrokerError]:
        """Commit one by one; nothing overtakes a record that could not be written."""
        failures: dict[int, BrokerError] = {}
        blocked: BrokerError | None = None
        for index, submission in enumerate(group):
            error = blocked or self._commit([submission])
            if error is None:
                continue
            if submission.recorded:
                blocked = error
                self._backlog.append(submission)
            else:
                failures[index] = error
        return failures


def then(done: asyncio.Future[None], outcome: Callable[[BrokerError | None], None]) -> asyncio.Future[None]:
    """A future like `done`, before whose awaiters `outcome` is run, even if they are cancelled meanwhile."""

    def finished(future: asyncio.Future[None]) -> None:
        error = future.exception()
        outcome(error if isinstance(error, BrokerError) else None)

    done.add_done_callback(finished)
    return asyncio.shield(done)


def _resolve(group: list[_Submission], failures: dict[int, BrokerError]) -> None:
    for index, submission in enumerate(group):
        if submission.future is None or submission.future.done():
            continue
        error = failures.get(index)
        if error is None:
            submission.future.set_result(None)
        else:
            submission.future.set_exception(error)


def _refusal(error: sqlite3.Error | OverflowError) -> BrokerError:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return StorageFullError("the disk of the message journal is full: nothing was accepted")
    return ServerBusyError(f"the message journal could not be written: {error}")


def _connect(path: Path | None) -> sqlite3.Connection:
    name = ":memory:" if path is None else str(path)
    try:
        connection = sqlite3.connect(name, isolation_level=None, check_same_thread=False, timeout=2)
        try:
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter from a message about damage
        raise DatabaseError(f"{name}: not usable as the message database: {error}") from error
    except DatabaseError as error:
        raise DatabaseError(f"{name}: {error}") from error
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    """Set up and check. Raises sqlite3.Error, or DatabaseError, neither of which names the file."""
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # has its effect on a new file
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA journal_size_limit={_LARGEST_WAL_BYTES}")
    connection.execute("PRAGMA synchronous=FULL")
    # A second broker on the same file would give out the same messages again.
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise DatabaseError(f"written by a newer version (schema {version}, not {SCHEMA_VERSION})")
    [damage] = connection.execute("PRAGMA quick_check(1)").fetchone()
    if damage != "ok":
        raise DatabaseError(f"not usable as the message database: {' '.join(damage.split())}")
    if version == 0:
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
    connection.execute(_RULES)
