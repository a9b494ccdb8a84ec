"""Peek-lock: a message that was handed out is locked until it is settled or its lock expires.

A lock is given out and a settlement answered only when it is on disk. A message that comes back too
often is dead-lettered.
"""

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aos.local.servicebus.clock import Clock
from aos.local.servicebus.dead_letters import DeadLettering
from aos.local.servicebus.entities import EntitySettings
from aos.local.servicebus.errors import BrokerError, LockLostError, NotAllowedError
from aos.local.servicebus.holdings import Holdings
from aos.local.servicebus.intake import Intake, run
from aos.local.servicebus.journal import Journal, Statement, then
from aos.local.servicebus.message import Message, State
from aos.local.servicebus.rows import deleted, rewritten, updated
from aos.local.servicebus.space import Space


class PeekLock(Holdings):
    """Holdings whose messages can be locked, and settled under their locks.

    `properties` given to a settlement are application properties to set (see `properties_to_modify`).
    """

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
        self._locked: OrderedDict[bytes, Message] = OrderedDict()

    def complete(self, token: bytes) -> "asyncio.Future[None]":
        """The message is done with. The future fails with LockLostError when the lock is lost."""
        return self._settle(token, lambda message: [deleted(message)], self._forget)

    def abandon(self, token: bytes, properties: Mapping[str, Any] | None = None) -> "asyncio.Future[None]":
        """Give the message back, one delivery attempt later."""
        return self._settle(token, self._abandoned_row, self._give_back_counted, properties)

    def release(self, token: bytes) -> "asyncio.Future[None]":
        """Give the message back as if it had not been delivered."""
        return self._settle(
            token, lambda message: [updated(self.name, message, lock_token=None)], self._give_back
        )

    def defer(self, token: bytes, properties: Mapping[str, Any] | None = None) -> "asyncio.Future[None]":
        """Set the message aside until it is asked for by sequence number."""

        def deferred(message: Message) -> None:
            message.state, message.lock_token = State.DEFERRED, None

        return self._settle(
            token,
            lambda message: [updated(self.name, message, state=State.DEFERRED, lock_token=None)],
            deferred,
            properties,
        )

    def dead_letter(
        self,
        token: bytes,
        reason: str | None,
        description: str | None,
        properties: Mapping[str, Any] | None = None,
    ) -> "asyncio.Future[None]":
        """Move the message to the dead-letter sub-queue."""
        target = self.dead_letters
        if target is None:
            return _failed(NotAllowedError(f"{self.name}: a dead letter cannot be dead-lettered again"))
        why = DeadLettering(self._source, reason, description)
        moves: list[Intake] = []

        def written(message: Message) -> list[Statement]:
            moves.append(self._move(message, target, why))
            return moves[0].statements

        return self._settle(token, written, lambda _message: run(moves[0].accepted), properties)

    def renew(self, token: bytes) -> "asyncio.Future[int]":
        """Lock for another lock duration; the future holds the new end in milliseconds."""
        message = self._holds(token)
        result: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if message is None:
            result.set_exception(_lock_lost(self.name))
            return result
        until_ms = self.clock.now_ms() + self.settings.lock_ms

        def renewed(done: "asyncio.Future[None]") -> None:
            error = done.exception()
            held = error is None and self._locked.get(token) is message
            if held:
                message.locked_until_ms = until_ms
                self._locked.move_to_end(token)
            if result.cancelled():  # whoever asked has settled the message meanwhile
                return
            if held:
                result.set_result(until_ms)
            else:
                result.set_exception(error or _lock_lost(self.name))

        self._journal.submit([updated(self.name, message, locked_until_ms=until_ms)]).add_done_callback(
            renewed
        )
        return result

    def give_back_unseen(self, message: Message) -> None:
        """Unlock a message that was locked for someone who has gone before getting it."""
        self._locked.pop(message.lock_token or b"", None)
        self._journal.record([updated(self.name, message, lock_token=None)])
        self._give_back(message)

    def _lock(self, messages: Iterable[Message], *, remove: bool) -> list[Statement]:
        statements = []
        for message, until_ms in [(each, self._lock_end(each)) for each in messages]:
            message.lock_token = uuid.uuid4().bytes
            message.locked_until_ms = until_ms
            statements.append(deleted(message) if remove else updated(self.name, message))
        return statements

    def _lock_end(self, message: Message) -> int:
        """Until when a message that is locked now stays so."""
        del message  # the same for all
        return self.clock.now_ms() + self.settings.lock_ms

    def _lock_committed(self, message: Message, *, remove: bool) -> None:
        if remove:
            self._messages.discard(message.sequence_number)
            message.lock_token = None
        elif message.lock_token is not None:
            self._locked[message.lock_token] = message

    def _holds(self, token: bytes) -> Message | None:
        """The message under a lock that is still good."""
        message = self._locked.get(token)
        return None if message is None or message.locked_until_ms <= self.clock.now_ms() else message

    def _settle(
        self,
        token: bytes,
        statements: Callable[[Message], list[Statement]],
        apply: Callable[[Message], None],
        properties: Mapping[str, Any] | None = None,
    ) -> "asyncio.Future[None]":
        """Write the change and make it, unless the lock is lost; meanwhile nobody else can settle."""
        message = self._holds(token)
        if message is None:
            return _failed(_lock_lost(self.name))
        content = message.content
        if properties:
            content = content.with_application_properties(properties)
        del self._locked[token]

        def settled(error: BrokerError | None) -> None:
            if error is None:
                message.content = content
                apply(message)
            else:
                self._relock(message, token)

        rows = statements(message)
        if properties:
            rows = [*rows, rewritten(message, content)]
        return then(self._journal.submit(rows), settled)

    def _relock(self, message: Message, token: bytes) -> None:
        """A settlement could not be written: the lock is as it was."""
        self._locked[token] = message
        self._locked.move_to_end(token, last=False)
        self._alarm.at(message.locked_until_ms)

    def _abandoned_row(self, message: Message) -> list[Statement]:
        return [updated(self.name, message, delivery_count=message.delivery_count + 1, lock_token=None)]

    def _give_back(self, message: Message) -> None:
        message.lock_token = None
        if not self._expired(message) and message.state is State.ACTIVE:
            self._make_ready(message)

    def _give_back_counted(self, message: Message) -> None:
        message.delivery_count += 1
        if not self._bury_exhausted(message):
            self._give_back(message)

    def _bury_exhausted(self, message: Message) -> bool:
        """Dead-letter a message that was delivered as often as it may be; whether it was."""
        target = self.dead_letters
        if target is None or message.delivery_count < self.settings.max_delivery_count:
            return False
        self._move_now(message, target, DeadLettering.undeliverable(self._source, message.delivery_count))
        return True

    def _expire_locks(self, now_ms: int) -> None:
        while self._locked:
            token, message = next(iter(self._locked.items()))
            if message.locked_until_ms > now_ms:
                return
            del self._locked[token]
            self._journal.record(self._abandoned_row(message))
            self._give_back_counted(message)

    def _next_lock_end(self) -> int | None:
        """When the first lock ends: locks all last the same, so they end in the order they were given."""
        first = next(iter(self._locked.values()), None)
        return None if first is None else first.locked_until_ms

    def _set_alarm(self) -> None:
        super()._set_alarm()
        self._alarm.at(self._next_lock_end())


def _failed(error: BrokerError) -> "asyncio.Future[None]":
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future


def _lock_lost(name: str) -> LockLostError:
    return LockLostError(f"{name}: the lock is lost: it expired, or the message is settled already")
