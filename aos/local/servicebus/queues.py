"""A queue: the life of its messages between senders and receivers.

All state is in memory on the loop and every change goes through the journal first: a message becomes
visible, a lock is given out and a settlement answered only when it is on disk. What time does (a lock
that expires, a message whose time has come) has happened whether or not the disk agrees: it is recorded.
"""

import asyncio
import heapq
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from aos.local.servicebus import journal as sql
from aos.local.servicebus.clock import Alarm, Clock
from aos.local.servicebus.duplicates import DuplicateHistory
from aos.local.servicebus.errors import (
    BrokerError,
    InvalidFieldError,
    LockLostError,
    MessageNotFoundError,
    NotAllowedError,
)
from aos.local.servicebus.intake import Destination, Intake, run
from aos.local.servicebus.journal import Journal, Statement
from aos.local.servicebus.message import Content, Message, State
from aos.local.servicebus.rows import deleted, inserted, updated
from aos.local.servicebus.topology import EntitySettings

DEAD_LETTER_SUFFIX = "/$DeadLetterQueue"
_RETRY_MS = 1000
Outcome = Callable[[BrokerError | None], None]


class Consumer(Protocol):
    """Something that takes messages: a link with credit, or a receiver in this process."""

    removes: bool  # receive-and-delete instead of peek-lock

    def wanted(self) -> int:
        """How many messages it would take now."""

    def reserve(self, count: int) -> None:
        """So many are being locked for it."""

    def deliver(self, message: Message) -> bool:
        """Take a message that `reserve` counted; False when it has gone."""

    def unreserve(self, count: int) -> None:
        """So many could not be locked after all."""


class Queue:
    """A queue, a subscription's queue, or a dead-letter sub-queue."""

    def __init__(
        self,
        name: str,
        settings: EntitySettings,
        clock: Clock,
        journal: Journal,
        parent: "Queue | None" = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.clock = clock
        self.forward: Destination | None = None
        self.dead_letters: Queue | None = None
        self._journal = journal
        self._parent = parent
        self._messages: dict[int, Message] = {}
        self._ready: list[int] = []
        self._locked: OrderedDict[bytes, Message] = OrderedDict()
        self._scheduled: list[tuple[int, int]] = []
        self._expiring: list[tuple[int, int]] = []
        self._consumers: deque[Consumer] = deque()
        self._alarm = Alarm(clock, self._tick)
        self._last_sequence = 0
        self._duplicates = DuplicateHistory(name, settings.duplicate_window_ms, journal)
        self._retry_dispatch_ms: int | None = None
        self._dispatch_planned = False

    # Sending

    def take_in(self, content: Content, intake: Intake, scheduled_ms: int, forwarded: int = 0) -> None:
        """Add one message to `intake`, unless it is a duplicate. Raises InvalidFieldError."""
        fields = content.property_fields()
        content.application_properties()  # what filters will read later is checked now
        message_id = _text(fields.get("message_id"))
        if message_id is None:
            message_id = uuid.uuid4().hex
            content = content.with_message_id(message_id)
        session_id = fields.get("group_id")
        if self._lacks_session(session_id) and not forwarded:
            raise NotAllowedError(f"{self.name} requires sessions: the message has no session id")
        if not self._duplicates.admit(message_id, self.clock.now_ms(), intake):
            intake.sequence_numbers.append(0)
            return
        sequence_number = self._next_sequence()
        intake.sequences[self.name] = sequence_number
        intake.sequence_numbers.append(sequence_number)
        now_ms = self.clock.now_ms()
        if self.forward is not None and scheduled_ms <= now_ms:
            self.forward.take_in(content, intake, 0, forwarded or sequence_number)
            intake.sequence_numbers.pop()
            return
        message = Message(
            id=self._journal.next_id(),
            sequence_number=sequence_number,
            content=content,
            message_id=message_id,
            session_id=session_id if isinstance(session_id, str) else None,
            enqueued_ms=now_ms,
            ttl_ms=_least(content.ttl_ms, self.settings.default_ttl_ms),
            enqueued_sequence_number=forwarded,
        )
        if scheduled_ms > now_ms:
            message.state, message.scheduled_ms = State.SCHEDULED, scheduled_ms
        self._take_in_new(message, intake)

    def _take_in_new(self, message: Message, intake: Intake) -> None:
        target = self
        if self._lacks_session(message.session_id) and self.dead_letters is not None:
            target = self.dead_letters
            message.dead_letter_source = self.name
            message.dead_letter_reason = "Session id is null."
        intake.statements.append(inserted(target.name, message))
        intake.accepted.append(lambda: target._add(message))

    def cancel_scheduled(self, sequence_numbers: Sequence[int]) -> "asyncio.Future[None]":
        """Remove scheduled messages. Raises MessageNotFoundError if one is not there, changing nothing."""
        messages = [self._find(number, State.SCHEDULED) for number in dict.fromkeys(sequence_numbers)]
        for message in messages:
            del self._messages[message.sequence_number]
        done = self._journal.submit([deleted(message) for message in messages])
        return self._then(done, lambda error: self._put_back(messages, error))

    # Receiving

    def attach(self, consumer: Consumer) -> None:
        """Let a consumer compete for messages."""
        self._consumers.append(consumer)

    def detach(self, consumer: Consumer) -> None:
        """The consumer takes no more; what it has locked stays locked."""
        if consumer in self._consumers:
            self._consumers.remove(consumer)

    def dispatch(self) -> None:
        """Lock ready messages for the consumers that want some, in turn."""
        if self._retry_dispatch_ms is not None:
            return
        given: list[tuple[Consumer, Message]] = []
        for _ in range(len(self._consumers)):
            consumer = self._consumers[0]
            self._consumers.rotate(-1)
            ready = self._ready_for(consumer)
            taken = self._take_ready(ready, consumer.wanted()) if ready else []
            if taken:
                consumer.reserve(len(taken))
                given += [(consumer, message) for message in taken]
        if given:
            self._hand_out(given)

    def receive_deferred(
        self, sequence_numbers: Sequence[int], *, remove: bool
    ) -> "asyncio.Future[list[Message]]":
        """Lock (or remove) deferred messages. Raises MessageNotFoundError if one is not there."""
        messages = [self._find(number, State.DEFERRED) for number in dict.fromkeys(sequence_numbers)]
        if any(message.lock_token is not None for message in messages):
            raise MessageNotFoundError("a deferred message is locked by another receiver")
        statements = self._lock(messages, remove=remove)
        result: asyncio.Future[list[Message]] = asyncio.get_running_loop().create_future()

        def locked(done: "asyncio.Future[None]") -> None:
            error = done.exception()
            if error is not None:
                for message in messages:
                    message.lock_token = None
                result.set_exception(error)
                return
            for message in messages:
                self._lock_committed(message, remove=remove)
            self._set_alarm()
            result.set_result(messages)

        self._journal.submit(statements).add_done_callback(locked)
        return result

    def peek(self, from_sequence: int, count: int, session_id: str | None = None) -> list[Message]:
        """Messages in order of sequence number, whatever their state, without locking them."""
        numbers = (
            number
            for number, message in self._messages.items()
            if number >= from_sequence and (session_id is None or message.session_id == session_id)
        )
        return [self._messages[number] for number in heapq.nsmallest(count, numbers)]

    # Settling

    def complete(self, token: bytes) -> "asyncio.Future[None]":
        """The message is done with. The future fails with LockLostError when the lock is lost."""
        return self._settle(token, lambda message: [deleted(message)], self._forget)

    def abandon(self, token: bytes) -> "asyncio.Future[None]":
        """Give the message back, one delivery attempt later."""
        return self._settle(token, self._abandoned_row, self._give_back_counted)

    def release(self, token: bytes) -> "asyncio.Future[None]":
        """Give the message back as if it had not been delivered."""
        return self._settle(
            token, lambda message: [updated(self.name, message, lock_token=None)], self._give_back
        )

    def defer(self, token: bytes) -> "asyncio.Future[None]":
        """Set the message aside until it is asked for by sequence number."""

        def deferred(message: Message) -> None:
            message.state, message.lock_token = State.DEFERRED, None

        return self._settle(
            token,
            lambda message: [updated(self.name, message, state=State.DEFERRED, lock_token=None)],
            deferred,
        )

    def dead_letter(
        self, token: bytes, reason: str | None, description: str | None
    ) -> "asyncio.Future[None]":
        """Move the message to the dead-letter sub-queue."""
        if self.dead_letters is None:
            return _failed(NotAllowedError(f"{self.name}: a dead letter cannot be dead-lettered again"))
        moves: list[Intake] = []

        def written(message: Message) -> list[Statement]:
            moves.append(self._dead_letter_intake(message, reason, description))
            return moves[0].statements

        return self._settle(token, written, lambda _message: run(moves[0].accepted))

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

    # Starting and stopping

    def restore(self, messages: Iterable[Message], last_sequence: int) -> None:
        """Take up the messages of an earlier run; locks hold until they would have expired."""
        self._last_sequence = max(self._last_sequence, last_sequence)
        locked = []
        for message in messages:
            self._last_sequence = max(self._last_sequence, message.sequence_number)
            if message.lock_token is None:
                self._add(message)
                if self._exhausted(message):
                    self._move_now(message, *self._exhausted_because(message))
            else:
                self._messages[message.sequence_number] = message
                self._watch_expiry(message)
                locked.append(message)
        for message in sorted(locked, key=lambda each: each.locked_until_ms):
            self._locked[message.lock_token or b""] = message
        self._duplicates.restore(self.clock.now_ms())
        self._set_alarm()

    def stop(self) -> None:
        """Ring no more."""
        self._alarm.cancel()

    @property
    def message_count(self) -> int:
        """How many messages it holds, in whatever state."""
        return len(self._messages)

    # How it works

    def _lacks_session(self, session_id: Any) -> bool:
        return self.settings.requires_session and not isinstance(session_id, str)

    def _next_sequence(self) -> int:
        if self._parent is not None:
            return self._parent._next_sequence()
        self._last_sequence += 1
        return self._last_sequence

    def _sequence_row(self) -> Statement:
        owner = self._parent or self
        return (sql.PUT_SEQUENCE, (owner.name, owner._last_sequence))

    def _find(self, sequence_number: int, state: State) -> Message:
        message = self._messages.get(sequence_number)
        if message is None or message.state is not state:
            raise MessageNotFoundError(
                f"{self.name} has no {state.name.lower()} message with sequence number {sequence_number}"
            )
        return message

    def _put_back(self, messages: Iterable[Message], error: BrokerError | None) -> None:
        if error is not None:
            for message in messages:
                self._add(message)

    def _add(self, message: Message) -> None:
        """A message whose row is written becomes part of the queue."""
        self._messages[message.sequence_number] = message
        self._watch_expiry(message)
        if message.state is State.SCHEDULED:
            heapq.heappush(self._scheduled, (message.scheduled_ms, message.sequence_number))
            self._alarm.at(message.scheduled_ms)
        elif message.state is State.ACTIVE:
            if self.forward is None:
                self._make_ready(message)
            else:
                self._pass_on(self.forward, message)

    def _pass_on(self, forward: Destination, message: Message) -> None:
        """A scheduled message of a forwarding queue or a topic goes on when its time has come."""
        intake = Intake([deleted(message)])
        forward.take_in(message.content, intake, 0, message.sequence_number)
        self._journal.record(intake.written())
        self._forget(message)
        run(intake.accepted)

    def _watch_expiry(self, message: Message) -> None:
        if message.expires_ms is not None and message.state is not State.SCHEDULED:
            heapq.heappush(self._expiring, (message.expires_ms, message.sequence_number))
            self._alarm.at(message.expires_ms)

    def _ready_for(self, consumer: Consumer) -> list[int]:
        """The sequence numbers, as a heap, of what this consumer may have."""
        del consumer  # any may have all
        return self._ready

    def _make_ready(self, message: Message) -> None:
        heapq.heappush(self._ready, message.sequence_number)
        self._dispatch_soon()

    def _dispatch_soon(self) -> None:
        """Dispatch once for all messages that become ready in this turn of the loop."""
        if self._consumers and not self._dispatch_planned:
            self._dispatch_planned = True
            asyncio.get_running_loop().call_soon(self._dispatch_planned_now)

    def _dispatch_planned_now(self) -> None:
        self._dispatch_planned = False
        self.dispatch()

    def _take_ready(self, ready: list[int], wanted: int) -> list[Message]:
        """Up to `wanted` of the oldest ready messages, removed from the ready ones."""
        taken: list[Message] = []
        while ready and len(taken) < wanted:
            message = self._messages.get(heapq.heappop(ready))
            if message is not None and not self._expired(message):
                taken.append(message)
        return taken

    def _expired(self, message: Message) -> bool:
        if message.expires_ms is None or message.expires_ms > self.clock.now_ms():
            return False
        self._expire(message)
        return True

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

    def _holds(self, token: bytes) -> Message | None:
        """The message under a lock that is still good."""
        message = self._locked.get(token)
        return None if message is None or message.locked_until_ms <= self.clock.now_ms() else message

    def give_back_unseen(self, message: Message) -> None:
        """Unlock a message that was locked for someone who has gone before getting it."""
        self._locked.pop(message.lock_token or b"", None)
        self._journal.record([updated(self.name, message, lock_token=None)])
        self._give_back(message)

    def _hand_out(self, given: list[tuple[Consumer, Message]]) -> None:
        statements = []
        for consumer, message in given:
            statements += self._lock([message], remove=consumer.removes)
        self._journal.submit(statements).add_done_callback(lambda done: self._handed_out(given, done))

    def _handed_out(self, given: list[tuple[Consumer, Message]], done: "asyncio.Future[None]") -> None:
        if done.exception() is not None:
            self._hand_out_failed(given)
            return
        for consumer, message in given:
            self._lock_committed(message, remove=consumer.removes)
            if not consumer.deliver(message) and not consumer.removes:
                self.give_back_unseen(message)
        self._set_alarm()
        self.dispatch()

    def _hand_out_failed(self, given: list[tuple[Consumer, Message]]) -> None:
        for consumer, message in given:
            consumer.unreserve(1)
            message.lock_token = None
            self._make_ready(message)
        self._retry_dispatch_ms = self.clock.now_ms() + _RETRY_MS
        self._alarm.at(self._retry_dispatch_ms)

    def _lock_committed(self, message: Message, *, remove: bool) -> None:
        if remove:
            self._messages.pop(message.sequence_number, None)
            message.lock_token = None
        elif message.lock_token is not None:
            self._locked[message.lock_token] = message

    def _settle(
        self,
        token: bytes,
        statements: Callable[[Message], list[Statement]],
        apply: Callable[[Message], None],
    ) -> "asyncio.Future[None]":
        """Write the change and make it, unless the lock is lost; meanwhile nobody else can settle."""
        message = self._holds(token)
        if message is None:
            return _failed(_lock_lost(self.name))
        del self._locked[token]

        def settled(error: BrokerError | None) -> None:
            if error is None:
                apply(message)
            else:
                self._relock(message, token)

        return self._then(self._journal.submit(statements(message)), settled)

    def _relock(self, message: Message, token: bytes) -> None:
        """A settlement could not be written: the lock is as it was."""
        self._locked[token] = message
        self._locked.move_to_end(token, last=False)
        self._alarm.at(message.locked_until_ms)

    def _then(self, done: "asyncio.Future[None]", outcome: Outcome) -> "asyncio.Future[None]":
        """Run `outcome` before anyone who awaits the future goes on."""

        def finished(future: "asyncio.Future[None]") -> None:
            error = future.exception()
            outcome(error if isinstance(error, BrokerError) else None)

        done.add_done_callback(finished)
        return done

    def _forget(self, message: Message) -> None:
        self._messages.pop(message.sequence_number, None)
        message.lock_token = None

    def _give_back(self, message: Message) -> None:
        message.lock_token = None
        if not self._expired(message) and message.state is State.ACTIVE:
            self._make_ready(message)

    def _give_back_counted(self, message: Message) -> None:
        message.delivery_count += 1
        if self._exhausted(message):
            self._move_now(message, *self._exhausted_because(message))
        else:
            self._give_back(message)

    def _abandoned_row(self, message: Message) -> list[Statement]:
        return [updated(self.name, message, delivery_count=message.delivery_count + 1, lock_token=None)]

    def _exhausted(self, message: Message) -> bool:
        return self.dead_letters is not None and message.delivery_count >= self.settings.max_delivery_count

    def _exhausted_because(self, message: Message) -> tuple[str, str]:
        attempts = message.delivery_count
        return (
            "MaxDeliveryCountExceeded",
            f"Message could not be consumed after {attempts} delivery attempts.",
        )

    def _dead_letter_intake(self, message: Message, reason: str | None, description: str | None) -> Intake:
        """What moves a message to the dead letters (or where those are forwarded to)."""
        intake = Intake()
        target = self.dead_letters
        assert target is not None
        source = self._parent.name if self._parent else self.name

        def moved() -> None:
            self._messages.pop(message.sequence_number, None)
            message.lock_token = None
            message.state = State.ACTIVE
            message.dead_letter_source = source
            message.dead_letter_reason = reason
            message.dead_letter_description = description
            target._add(message)

        intake.statements.append(
            updated(
                target.name,
                message,
                state=State.ACTIVE,
                lock_token=None,
                dead_letter_source=source,
                dead_letter_reason=reason,
                dead_letter_description=description,
            )
        )
        intake.accepted.append(moved)
        return intake

    def _move_now(self, message: Message, reason: str, description: str) -> None:
        intake = self._dead_letter_intake(message, reason, description)
        self._journal.record(intake.statements)
        run(intake.accepted)

    def _expire(self, message: Message) -> None:
        """A message's time to live is over."""
        if self.settings.dead_letter_on_expiration and self.dead_letters is not None:
            self._move_now(message, "TTLExpiredException", "The message expired and was dead lettered.")
        else:
            self._journal.record([deleted(message)])
            self._forget(message)

    # What time does

    def _tick(self) -> None:
        now_ms = self.clock.now_ms()
        if self._retry_dispatch_ms is not None and self._retry_dispatch_ms <= now_ms:
            self._retry_dispatch_ms = None
        self._expire_locks(now_ms)
        self._activate_scheduled(now_ms)
        self._expire_messages(now_ms)
        self._duplicates.forget(now_ms)
        self._set_alarm()
        self.dispatch()

    def _expire_locks(self, now_ms: int) -> None:
        while self._locked:
            token, message = next(iter(self._locked.items()))
            if message.locked_until_ms > now_ms:
                return
            del self._locked[token]
            self._journal.record(self._abandoned_row(message))
            self._give_back_counted(message)

    def _activate_scheduled(self, now_ms: int) -> None:
        while self._scheduled and self._scheduled[0][0] <= now_ms:
            _, number = heapq.heappop(self._scheduled)
            message = self._messages.get(number)
            if message is None or message.state is not State.SCHEDULED:
                continue
            del self._messages[number]
            message.state = State.ACTIVE
            message.sequence_number = self._next_sequence()
            message.enqueued_ms = now_ms
            self._journal.record([updated(self.name, message), self._sequence_row()])
            self._add(message)

    def _expire_messages(self, now_ms: int) -> None:
        while self._expiring and self._expiring[0][0] <= now_ms:
            _, number = heapq.heappop(self._expiring)
            message = self._messages.get(number)
            if message is not None and message.lock_token is None and message.expires_ms is not None:
                self._expire(message)

    def _next_lock_end(self) -> int | None:
        """When the first lock ends: locks all last the same, so they end in the order they were given."""
        first = next(iter(self._locked.values()), None)
        return None if first is None else first.locked_until_ms

    def _set_alarm(self) -> None:
        self._alarm.at(self._next_lock_end())
        for heap in (self._scheduled, self._expiring):
            if heap:
                self._alarm.at(heap[0][0])
        self._alarm.at(self._retry_dispatch_ms)


def _failed(error: BrokerError) -> "asyncio.Future[None]":
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future


def _lock_lost(name: str) -> LockLostError:
    return LockLostError(f"{name}: the lock is lost: it expired, or the message is settled already")


def _text(message_id: Any) -> str | None:
    if message_id is None:
        return None
    text = message_id.hex() if isinstance(message_id, bytes) else str(message_id)
    if len(text) > 128:
        raise InvalidFieldError("a message id has at most 128 characters")
    return text


def _least(first: int | None, second: int | None) -> int | None:
    given = [each for each in (first, second) if each is not None]
    return min(given) if given else None
