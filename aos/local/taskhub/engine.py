"""The hub's engine room: opening, changing, reading, timers, and recovery after a failed write."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import grpc

from aos.local.taskhub import schema
from aos.local.taskhub.clock import SECOND, Clock
from aos.local.taskhub.dispatch import Dispatcher
from aos.local.taskhub.entities import Entities
from aos.local.taskhub.errors import HubError
from aos.local.taskhub.instances import Instances
from aos.local.taskhub.journal import Journal
from aos.local.taskhub.state import State, read_pending

_log = logging.getLogger(__name__)

# After a failed write no work is handed out for this long, so that a full disk is not hammered.
_BREATHER_S = 1.0

_LEASE_CHECK_S = 10


class Engine:
    """One open database and all that works on it. `change` and `read` are the only ways in."""

    def __init__(self, path: Path, holder: IO[str], clock: Clock, cache_bytes: int) -> None:
        self.clock = clock
        self.dispatcher = Dispatcher(clock)
        self._path = path
        self._holder = holder
        self._connections = [schema.connect(path) for _ in range(3)]
        writing, self._reading, self._lookup = self._connections
        self._readers = ThreadPoolExecutor(1, "taskhub-reader")
        self.journal = Journal(writing, self._failed)
        self.state = State(self._lookup, clock, self.dispatcher, cache_bytes)
        self.state.journal = self.journal
        self.state.on_change = self._changed
        self.state.on_timer = self._reschedule
        self.entities = Entities(self.state)
        self.instances = Instances(self.state, self.entities)
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._earlier_timer = asyncio.Event()
        self._unavailable: asyncio.Task[None] | None = None
        self._clockwork: list[asyncio.Task[None]] = []
        self.closed = False

    @classmethod
    async def open(cls, path: Path, clock: Clock, cache_bytes: int) -> "Engine":
        """Open or create the database and take up its undone work; `HubError` if it cannot be used."""
        holder = await asyncio.to_thread(schema.lock, path)
        try:
            await asyncio.to_thread(schema.prepare, path)
            engine = cls(path, holder, clock, cache_bytes)
        except BaseException:
            holder.close()
            raise
        try:
            await engine._restore()
        except sqlite3.Error as error:
            await engine.close()
            raise schema.unusable(path, str(error)) from error
        engine._clockwork = [
            asyncio.create_task(engine._run_timers()),
            asyncio.create_task(engine._watch_leases()),
        ]
        return engine

    async def close(self) -> None:
        """Write what is open and let the database go."""
        self.closed = True
        self._all_changed()
        for task in (*self._clockwork, self._unavailable):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        await self.journal.close()
        self._readers.shutdown()
        for connection in self._connections:
            connection.close()
        self._holder.close()

    # -- changing and reading

    async def change[T](self, change: Callable[[], T]) -> T:
        """Run a synchronous change; return when it is on disk. One that raises changes nothing."""
        if self._unavailable is not None or self.closed:
            await self.available()
        result = self._make(change)
        await self._written(self.journal.flushed())
        return result

    def post(self, change: Callable[[], object]) -> None:
        """Run a synchronous change that nobody waits for; while the hub recovers, later.

        `HubError` when it cannot be made. That it could not be written is said where recovery begins.
        """

        def recovered(_: object) -> None:
            if not self.closed:
                self.post(change)

        if self.closed:
            raise _closed()
        if self._unavailable is not None:
            self._unavailable.add_done_callback(recovered)
        else:
            self._make(change)

    def _make[T](self, change: Callable[[], T]) -> T:
        before = self.journal.writes
        try:
            result = change()
        except Exception as error:
            if self.journal.writes != before:
                self.journal.abandon(error)
            if isinstance(error, sqlite3.Error):
                raise self._storage_failed(error) from error
            raise
        self.state.trim()
        return result

    async def read[T](self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query over what is on disk, off the loop."""
        if self.closed:
            raise _closed()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, query, self._reading)
        except sqlite3.Error as error:
            raise self._storage_failed(error) from error

    def look[T](self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query for one row over what is on disk: another thread would cost more than it takes."""
        if self.closed:
            raise _closed()
        try:
            return query(self._lookup)
        except sqlite3.Error as error:
            raise self._storage_failed(error) from error

    async def look_current[T](self, query: Callable[[sqlite3.Connection], T]) -> T:
        """As `look`, over all that was changed by now."""
        await self._all_written()
        return self.look(query)

    async def read_current[T](self, query: Callable[[sqlite3.Connection], T]) -> T:
        """As `read`, over all that was changed by now."""
        await self._all_written()
        return await self.read(query)

    async def _all_written(self) -> None:
        """Wait for all that was changed by now; a change that cannot be written is not seen.

        Work is handed out while what it came of is being written: whoever saw it done must not read
        what was before it.
        """
        written = self.journal.flushed()
        if not written.done():
            await asyncio.gather(written, return_exceptions=True)

    async def available(self) -> None:
        """Wait while the hub recovers from a failed write."""
        while self._unavailable is not None:
            await asyncio.shield(self._unavailable)
        if self.closed:
            raise _closed()

    async def _written(self, flushed: asyncio.Future[None]) -> None:
        try:
            await flushed
        except sqlite3.Error as error:
            raise self._storage_failed(error) from error
        except HubError:
            raise
        except Exception as error:
            raise HubError(
                grpc.StatusCode.UNAVAILABLE, f"not written: another change failed: {error}"
            ) from error

    def _storage_failed(self, error: sqlite3.Error) -> HubError:
        full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        code = grpc.StatusCode.RESOURCE_EXHAUSTED if full else grpc.StatusCode.UNAVAILABLE
        return HubError(code, f"task hub database {self._path}: {error}")

    # -- recovery

    def _failed(self, error: BaseException) -> None:
        """A write failed: what is in memory is ahead of the disk, so it goes."""
        _log.error("task hub %s: a write failed, going back to what is on disk: %s", self._path, error)
        self.state.reset()
        if isinstance(error, sqlite3.Error):
            self.dispatcher.pause(_BREATHER_S)
        if self._unavailable is None:
            self._unavailable = asyncio.create_task(self._recover())

    async def _recover(self) -> None:
        """Take up again what is on disk, and let those who wait look at it."""
        try:
            await self.journal.idle()
            while not self.closed:
                try:
                    await self._restore()
                    break
                except sqlite3.Error:
                    _log.exception("task hub %s: cannot be read", self._path)
                    await asyncio.sleep(_BREATHER_S)
        finally:
            self._unavailable = None
        self._all_changed()

    async def _restore(self) -> None:
        loop = asyncio.get_running_loop()
        pending = await loop.run_in_executor(self._readers, read_pending, self._reading)
        self.state.restore(pending)

    async def erase(self) -> None:
        """Delete everything; others wait meanwhile."""
        await self.available()
        self.journal.forget_callbacks()
        self.journal.erase()
        flushed = self.journal.flushed()
        self.state.reset()
        self._unavailable = asyncio.create_task(self._recover())
        await self._written(flushed)

    # -- waiting for an instance to change

    @contextmanager
    def watch(self, instance_id: str) -> Iterator[asyncio.Future[None]]:
        """A future that is done when the instance starts, ends or is removed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(instance_id, set()).add(future)
        try:
            yield future
        finally:
            if waiting := self._waiting.get(instance_id):
                waiting.discard(future)
                if not waiting:
                    del self._waiting[instance_id]

    def _changed(self, instance_id: str) -> None:
        for future in self._waiting.pop(instance_id, ()):
            if not future.done():
                future.set_result(None)

    def _all_changed(self) -> None:
        for instance_id in list(self._waiting):
            self._changed(instance_id)

    # -- timers

    def _reschedule(self) -> None:
        self._earlier_timer.set()

    async def _run_timers(self) -> None:
        while True:
            if self._unavailable is not None:
                await asyncio.wait([self._unavailable])
                continue
            self._earlier_timer.clear()
            await self._fire_due()
            await self._next_timer()

    async def _watch_leases(self) -> None:
        while True:
            await self.clock.sleep_until(self.clock.now() + _LEASE_CHECK_S * SECOND)
            self.dispatcher.offer_overdue()

    async def _next_timer(self) -> None:
        due = self.state.next_due()
        waits: list[asyncio.Task[object]] = [asyncio.create_task(self._earlier_timer.wait())]
        if due is not None:
            waits.append(asyncio.create_task(self.clock.sleep_until(due)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _fire_due(self) -> None:
        try:
            self.state.fire_due()
        except Exception as error:  # noqa: BLE001 - the timers must go on whatever one of them met
            self.journal.abandon(error)
            await asyncio.sleep(_BREATHER_S)


def _closed() -> HubError:
    return HubError(grpc.StatusCode.UNAVAILABLE, "the task hub is closed")
