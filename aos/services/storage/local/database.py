"""One SQLite file, used by several processes at once: writes in groups, reads beside them.

A write is a function of the connection. One thread a process runs those that wait, each in a savepoint,
and commits them together: one fsync for the whole group. Only then are they acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from aos.kernel.errors import AosError, Integrity, InvalidSetting, Unavailable

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE rows (
    name TEXT NOT NULL, partition TEXT NOT NULL, key TEXT NOT NULL, etag TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (name, partition, key));
CREATE TABLE logs (name TEXT PRIMARY KEY, size INTEGER NOT NULL, appends INTEGER NOT NULL);
CREATE TABLE log_data (
    log TEXT NOT NULL, start INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (log, start));
"""
GROUP_LIMIT = 256  # a bound on the work that one failed commit takes back
BUSY_TIMEOUT_S = 30.0
READERS = 2

type Operation[T] = Callable[[sqlite3.Connection], T]


@dataclass(slots=True)
class _Write:
    operation: Operation[Any]
    outcome: Future[Any] = field(default_factory=Future)


class Database:
    """The file at ``path``; made if it is missing.

    Raises:
        InvalidSetting: a newer AOS wrote it, or the path cannot be used.
        Integrity: it is not a database, or a damaged one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._waiting: SimpleQueue[_Write | None] = SimpleQueue()
        self._closed = False
        self._gate = threading.Lock()  # nothing is queued behind the writer's last item
        self._connection = self._open()
        self._readers = ThreadPoolExecutor(READERS, "storage-read")
        self._writer = threading.Thread(target=self._write_groups, name="storage-write", daemon=True)
        self._writer.start()

    async def write[T](self, operation: Operation[T]) -> T:
        """Run ``operation`` in a transaction; return when its effect is durable.

        An ``AosError`` that it raises undoes what it did, and nothing else.
        """
        write = _Write(operation)
        with self._gate:
            self._check_open()
            self._waiting.put(write)
        result: T = await asyncio.wrap_future(write.outcome)
        return result

    async def read[T](self, operation: Operation[T]) -> T:
        """Run ``operation`` on a consistent view that holds every write acknowledged before."""
        with self._gate:
            self._check_open()
            reading = self._readers.submit(self._read, operation)
        return await asyncio.wrap_future(reading)

    async def close(self) -> None:
        """Commit what waits, then close the file."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        await asyncio.to_thread(self._finish)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable(f"the storage in {self._path.parent} is closed")

    def _finish(self) -> None:
        self._writer.join()
        self._readers.shutdown()
        with self._gate:
            while self._connections:
                self._connections.pop().close()

    def _open(self) -> sqlite3.Connection:
        with self._explained():
            connection = self._connect()
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        self._connections.append(connection)
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise InvalidSetting(
                f"{self._path} has format {version}, of a newer AOS; this one knows {SCHEMA_VERSION}",
                path=str(self._path),
            )
        if version == 0:
            for statement in SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.commit()

    def _read[T](self, operation: Operation[T]) -> T:
        with self._explained():
            connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self._connect()
            connection.execute("BEGIN")
            try:
                return operation(connection)
            finally:
                connection.rollback()

    def _write_groups(self) -> None:
        while (first := self._waiting.get()) is not None:
            group = [first]
            last = False
            while len(group) < GROUP_LIMIT and not last:
                try:
                    write = self._waiting.get_nowait()
                except Empty:
                    break
                if write is None:
                    last = True
                else:
                    group.append(write)
            self._commit([write for write in group if write.outcome.set_running_or_notify_cancel()])
            if last:
                return

    def _commit(self, group: list[_Write]) -> None:
        """Run a group in one transaction. If SQLite fails, so does the whole group: none of it happened."""
        settled: list[Callable[[], None]] = []
        try:
            with self._explained():
                self._connection.execute("BEGIN IMMEDIATE")
                settled = [self._run(write) for write in group]
                self._connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - each caller of the group gets it
            with contextlib.suppress(sqlite3.Error):
                self._connection.rollback()
            for write in group:
                write.outcome.set_exception(error)
            return
        for settle in settled:
            settle()

    def _run(self, write: _Write) -> Callable[[], None]:
        """Run one write; return what tells its caller, for after the commit."""
        self._connection.execute("SAVEPOINT operation")
        try:
            result = write.operation(self._connection)
        except AosError as error:
            self._connection.execute("ROLLBACK TO operation")
            refusal = error  # `error` is unbound when this clause ends
            return lambda: write.outcome.set_exception(refusal)
        finally:
            # After some faults SQLite has rolled all back by itself, the savepoint with it.
            if self._connection.in_transaction:
                self._connection.execute("RELEASE operation")
        return lambda: write.outcome.set_result(result)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what SQLite's errors mean to a caller."""
        try:
            yield
        except sqlite3.Error as error:
            raise _meaning(error, self._path) from error


def _use_wal(connection: sqlite3.Connection) -> None:
    """Change to WAL; SQLite does not wait by itself here for others who open the file now."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _meaning(error: sqlite3.Error, path: Path) -> AosError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return Integrity(f"{path} is damaged, or not a database: {error}", path=str(path))
    if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY}:
        return InvalidSetting(f"{path} cannot be opened for writing: {error}", path=str(path))
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
        return Unavailable(
            f"the storage in {path.parent} cannot be used now: {error}", folder=str(path.parent)
        )
    raise error
