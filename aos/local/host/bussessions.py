"""Service Bus triggers with sessions: one holder for each session, its messages in order."""

import asyncio
from collections.abc import Awaitable, Callable

from aos.local.host.bushandler import BusHandler
from aos.local.host.busqueues import gather_batch
from aos.local.host.locks import keep_locked
from aos.local.servicebus import Broker, ReceivedMessage, SessionLockLostError, SessionReceiver

_POLL_S = 30.0


class SessionTrigger:
    """One function and its sessions: as many at once as `maxConcurrentSessions` says.

    A session is held until no message came for `sessionIdleTimeout`, or until its lock was renewed for
    `maxAutoLockRenewalDuration`; then it is free for whoever waits for one.
    """

    def __init__(self, handler: BusHandler, broker: Broker) -> None:
        self._handler = handler
        self._broker = broker
        self._waiting: set[SessionReceiver] = set()
        self._held: dict[SessionReceiver, asyncio.Task[None]] = {}
        self._free = asyncio.Semaphore(self._at_once)
        self._paused = False
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to receive."""
        self._loop = self._handler.supervisor.spawn(self._accept())

    async def pause(self) -> None:
        """Take no more messages, nor sessions. A session is given up when what runs for it has ended."""
        self._paused = True
        for session in self._held:
            session.stop()
        for session in list(self._waiting):
            await session.close()

    async def close(self) -> None:
        """Wait until every session is given up (the worker is gone by now: nothing runs on)."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await asyncio.gather(*self._held.values())

    @property
    def _at_once(self) -> int:
        return self._handler.settings.max_concurrent_sessions

    async def _accept(self) -> None:
        """Acquire a session whenever there is a place for one."""
        while not self._paused:
            await self._handler.supervisor.ready()
            await self._free.acquire()
            if self._paused:
                return
            session = self._broker.session_receiver(self._handler.entity)
            self._waiting.add(session)
            try:
                acquired = await session.acquire(_POLL_S)
            except BaseException:
                await session.close()  # it must not be given a session that nobody would serve
                raise
            finally:
                self._waiting.discard(session)
            if acquired and not self._paused:
                self._held[session] = self._handler.supervisor.spawn(self._serve(session))
            else:
                await session.close()
                self._free.release()

    async def _serve(self, session: SessionReceiver) -> None:
        try:
            await self._drain(session)
        finally:
            await session.close()
            self._held.pop(session, None)
            self._free.release()

    async def _drain(self, session: SessionReceiver) -> None:
        """Handle the session's messages, in order unless several may be called at once."""
        settings = self._handler.settings
        renewal = asyncio.create_task(self._keep(session))
        handling: set[asyncio.Task[None]] = set()
        try:
            while session.open:
                await self._handler.supervisor.ready()
                room = settings.max_calls_per_session - len(handling)
                if room <= 0:
                    _, handling = await asyncio.wait(handling, return_when=asyncio.FIRST_COMPLETED)
                    continue
                if not session.open:
                    break
                messages = await session.receive(room, settings.session_idle_s)
                handling = {task for task in handling if not task.done()}
                if not messages and not handling:
                    break
                handling |= {self._spawn(session, message) for message in messages}
            if handling:
                await asyncio.wait(handling)
        finally:
            renewal.cancel()

    def _spawn(self, session: SessionReceiver, message: ReceivedMessage) -> "asyncio.Task[None]":
        return self._handler.supervisor.spawn(self._handle(session, message))

    async def _handle(self, session: SessionReceiver, message: ReceivedMessage) -> None:
        if session.open or not self._paused:
            await self._handler.handle(session, [message])
        else:
            await self._handler.settle([message], session.release)

    async def _keep(self, session: SessionReceiver) -> None:
        try:
            await keep_locked(
                _async(session.renew_session), session.locked_until_utc, self._handler.settings.lock_renewal_s
            )
        except SessionLockLostError:
            self._handler.supervisor.say(
                f"{self._handler.entity}: the lock of session {session.session_id!r} was lost"
            )


class SessionBatchTrigger(SessionTrigger):
    """One function and its sessions, a batch of one session a call and one call at a time.

    As in the extension the lock of the session is not renewed.
    """

    @property
    def _at_once(self) -> int:
        return 1

    async def _drain(self, session: SessionReceiver) -> None:
        while session.open:
            await self._handler.supervisor.ready()
            if not session.open:
                return
            batch = await gather_batch(self._handler, session, self._handler.settings.session_idle_s)
            if not batch:
                return
            if self._paused:
                await self._handler.settle(batch, session.release)
            else:
                await self._handler.handle(session, batch)


def _async[T](function: Callable[[], T]) -> Callable[[], Awaitable[T]]:
    async def called() -> T:
        return function()

    return called
