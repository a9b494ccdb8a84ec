"""A queue whose messages belong to sessions: each session is locked, in order, by one receiver at a time.

The messages under a session are locked as long as it is. When its lock expires they count a delivery,
when its receiver closes they do not; a restart closes all receivers.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from aos.local.servicebus import journal as sql
from aos.local.servicebus.clock import Clock
from aos.local.servicebus.deliveries import Consumer
from aos.local.servicebus.entities import EntitySettings
from aos.local.servicebus.errors import (
    BrokerError,
    NotAllowedError,
    OperationTimeoutError,
    SessionCannotBeLockedError,
    SessionLockLostError,
)
from aos.local.servicebus.holdings import Holdings
from aos.local.servicebus.journal import Journal, then
from aos.local.servicebus.message import Message, State
from aos.local.servicebus.queues import Queue
from aos.local.servicebus.rows import updated
from aos.local.servicebus.space import Space

_STALE_KEPT = 100


class SessionConsumer(Consumer, Protocol):
    """A consumer that holds a session."""

    def lock_lost(self) -> None:
        """The session is not its any more."""


@dataclass(slots=True)
class MessageSession:
    """One session: its ready messages, who holds it until when, and its state."""

    id: str
    ready: list[int] = field(default_factory=list)
    holder: SessionConsumer | None = None
    locked_until_ms: int = 0
    state: bytes | None = None
    updated_ms: int = 0


class SessionQueue(Queue):
    """A queue that requires sessions."""

    def __init__(
        self,
        name: str,
        settings: EntitySettings,
        clock: Clock,
        journal: Journal,
        parent: Holdings | None = None,
        *,
        space: Space | None = None,
    ) -> None:
        super().__init__(name, settings, clock, journal, parent, space=space)
        self._sessions: dict[str, MessageSession] = {}
        self._by_holder: dict[Consumer, MessageSession] = {}
        self._free: list[tuple[int, str]] = []  # a heap of sessions by their oldest messages; may be stale
        self._waiting: deque[tuple[SessionConsumer, asyncio.Future[str]]] = deque()

    def acquire(
        self, consumer: SessionConsumer, session_id: str | None, timeout_s: float
    ) -> "asyncio.Future[str]":
        """Lock a session for a consumer: the one named, or the next one with messages.

        The future fails with SessionCannotBeLockedError when another consumer holds the one named, and
        with OperationTimeoutError when none becomes available in time.
        """
        self.check_receivable()
        loop = asyncio.get_running_loop()
        result: asyncio.Future[str] = loop.create_future()
        if session_id is None:
            self._waiting.append((consumer, result))
            timer = loop.call_later(timeout_s, self._give_up, result)
            result.add_done_callback(lambda _: timer.cancel())
            self._offer_sessions()
            return result
        session = self._session(session_id)
        if session.holder is not None:
            result.set_exception(
                SessionCannotBeLockedError(
                    f"{self.name}: session {session_id!r} is locked by another receiver"
                )
            )
        else:
            self._grant(session, consumer, result)
        return result

    def holder(self, session_id: str) -> SessionConsumer:
        """Who holds the session. Raises SessionLockLostError if nobody does."""
        holder = self._held(session_id).holder
        assert holder is not None
        return holder

    def renew_session(self, session_id: str) -> int:
        """Lock for another lock duration; returns the new end. Raises SessionLockLostError."""
        session = self._held(session_id)
        session.locked_until_ms = self.clock.now_ms() + self.settings.lock_ms
        return session.locked_until_ms

    def locked_until_ms(self, session_id: str) -> int:
        """When the lock of a session ends. Raises SessionLockLostError."""
        return self._held(session_id).locked_until_ms

    def state(self, session_id: str) -> bytes | None:
        """The state that was last set. Raises SessionLockLostError."""
        return self._held(session_id).state

    async def set_state(self, session_id: str, state: bytes | None) -> None:
        """Keep a state for the session, or (None) forget it. Raises SessionLockLostError."""
        session = self._held(session_id)
        now_ms = self.clock.now_ms()
        if state is None:
            row: sql.Statement = (sql.DELETE_SESSION, (self.name, session_id))
        else:
            row = (sql.PUT_SESSION, (self.name, session_id, state, now_ms))

        def written(error: BrokerError | None) -> None:
            if error is None:
                session.state, session.updated_ms = state, now_ms

        await then(self._journal.submit([row]), written)

    def session_ids(self, updated_since_ms: int | None) -> list[str]:
        """Sessions with messages or a state; or those whose state was set after a time."""
        if updated_since_ms is not None:
            updated = (each for each in self._sessions.values() if each.state is not None)
            return sorted(each.id for each in updated if each.updated_ms > updated_since_ms)
        active = {each.session_id for each in self._messages.values() if each.state is State.ACTIVE}
        stated = {each.id for each in self._sessions.values() if each.state is not None}
        return sorted({each for each in active if each is not None} | stated)

    def attach(self, consumer: Consumer) -> None:
        """Refused: a consumer here must `acquire` a session."""
        raise NotAllowedError(f"{self.name} requires sessions: it cannot be received from without one")

    def detach(self, consumer: Consumer) -> None:
        """The consumer lets go of its session, or waits no more for one."""
        for entry in [each for each in self._waiting if each[0] is consumer]:
            self._waiting.remove(entry)
            entry[1].cancel()
        super().detach(consumer)
        session = self._by_holder.get(consumer)
        if session is not None:
            self._release(session)

    def renew(self, token: bytes) -> "asyncio.Future[int]":
        """Refused: it is the session's lock that is renewed."""
        del token
        result: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        result.set_exception(NotAllowedError(f"{self.name}: renew the lock of the session instead"))
        return result

    def restore(self, messages: Iterable[Message]) -> None:
        """Take up messages and states; whoever held a session is gone."""
        for session_id, state, updated_ms in self._journal.rows(
            "SELECT session_id, state, updated_ms FROM sessions WHERE entity=?", self.name
        ):
            session = self._session(session_id)
            session.state, session.updated_ms = state, updated_ms
        messages = list(messages)
        for message in messages:
            if message.lock_token is not None:
                message.lock_token = None
                self._journal.record([updated(self.name, message)])
        super().restore(messages)

    def _session(self, session_id: str) -> MessageSession:
        return self._sessions.setdefault(session_id, MessageSession(session_id))

    def _held(self, session_id: str) -> MessageSession:
        session = self._sessions.get(session_id)
        if session is None or session.holder is None or session.locked_until_ms <= self.clock.now_ms():
            raise SessionLockLostError(f"{self.name}: session {session_id!r} is not locked")
        return session

    def _ready_for(self, consumer: Consumer) -> list[int]:
        session = self._by_holder.get(consumer)
        # After the clock was set forward a lock may be over that its alarm has not ended yet.
        return session.ready if session and session.locked_until_ms > self.clock.now_ms() else []

    def _make_ready(self, message: Message) -> None:
        session = self._session(message.session_id or "")
        heapq.heappush(session.ready, message.sequence_number)
        if session.holder is not None:
            self._dispatch_soon()
        elif session.ready[0] == message.sequence_number:
            self._put_free(session)
            self._offer_sessions()

    def _offer_sessions(self) -> None:
        """Give sessions that nobody holds to those who wait for one, oldest message first."""
        while self._waiting:
            if self._waiting[0][1].done():
                self._waiting.popleft()
                continue
            session = self._next_free()
            if session is None:
                return
            consumer, result = self._waiting.popleft()
            self._grant(session, consumer, result)

    def _next_free(self) -> MessageSession | None:
        """Of the sessions that nobody holds, the one with the oldest message."""
        while self._free:
            number, session_id = heapq.heappop(self._free)
            session = self._sessions.get(session_id)
            if session is None or session.holder is not None:
                continue
            self._forget_gone(session)
            if session.ready and session.ready[0] == number:
                return session
            self._put_free(session)
        return None

    def _put_free(self, session: MessageSession) -> None:
        if session.ready:
            heapq.heappush(self._free, (session.ready[0], session.id))
        if len(self._free) > 2 * len(self._sessions) + _STALE_KEPT:
            free = (each for each in self._sessions.values() if each.holder is None and each.ready)
            self._free = sorted((each.ready[0], each.id) for each in free)

    def _forget_gone(self, session: MessageSession) -> None:
        """Drop the numbers of messages that expired meanwhile."""
        while session.ready and session.ready[0] not in self._messages:
            heapq.heappop(session.ready)

    def _grant(
        self, session: MessageSession, consumer: SessionConsumer, result: "asyncio.Future[str]"
    ) -> None:
        session.holder = consumer
        self._by_holder[consumer] = session
        session.locked_until_ms = self.clock.now_ms() + self.settings.lock_ms
        self._alarm.at(session.locked_until_ms)
        super().attach(consumer)
        result.set_result(session.id)

    def _give_up(self, result: "asyncio.Future[str]") -> None:
        self._waiting = deque(entry for entry in self._waiting if entry[1] is not result)
        if not result.done():
            result.set_exception(OperationTimeoutError(f"{self.name}: no session has become available"))

    def _release(self, session: MessageSession) -> None:
        """Nobody holds the session any more; what was locked under it is given back uncounted."""
        if session.holder is not None:
            del self._by_holder[session.holder]
        session.holder = None
        for message in self._locked_under(session):
            self.give_back_unseen(message)
        self._forget_gone(session)
        self._put_free(session)
        self._tidy(session)
        self._offer_sessions()

    def _locked_under(self, session: MessageSession) -> list[Message]:
        return [message for message in self._locked.values() if message.session_id == session.id]

    def _tidy(self, session: MessageSession) -> None:
        if session.holder is None and not session.ready and session.state is None:
            self._sessions.pop(session.id, None)

    def _lock_end(self, message: Message) -> int:
        session = self._sessions.get(message.session_id or "")
        if session is None or session.holder is None:
            raise SessionLockLostError(f"{self.name}: session {message.session_id!r} is not locked")
        return session.locked_until_ms  # maybe over by now: the message is then given back in its turn

    def _holds(self, token: bytes) -> Message | None:
        message = self._locked.get(token)
        session = None if message is None else self._sessions.get(message.session_id or "")
        held = session is not None and session.holder is not None
        return message if held and session and session.locked_until_ms > self.clock.now_ms() else None

    def _relock(self, message: Message, token: bytes) -> None:
        self._locked[token] = message
        session = self._sessions.get(message.session_id or "")
        if session is None or session.holder is None:
            self.give_back_unseen(message)

    def _expire_locks(self, now_ms: int) -> None:
        for session in list(self._by_holder.values()):
            if session.holder is None or session.locked_until_ms > now_ms:
                continue
            for message in self._locked_under(session):
                self._locked.pop(message.lock_token or b"", None)
                self._journal.record(self._abandoned_row(message))
                self._give_back_counted(message)
            session.holder.lock_lost()

    def _next_lock_end(self) -> int | None:
        return min((each.locked_until_ms for each in self._by_holder.values()), default=None)
