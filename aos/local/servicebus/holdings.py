"""What an entity holds: its messages by sequence number, and what time does to them.

A message is active, scheduled until its time, or deferred until it is asked for; when its time to live
is over it is dropped or dead-lettered. What has happened is recorded, whether or not the disk agrees.
"""

import heapq
from abc import ABC, abstractmethod
from bisect import bisect_left
from itertools import islice

from aos.local.servicebus import journal as sql
from aos.local.servicebus.clock import Alarm, Clock
from aos.local.servicebus.dead_letters import DeadLettering
from aos.local.servicebus.entities import EntitySettings
from aos.local.servicebus.errors import BrokerError, MessageNotFoundError
from aos.local.servicebus.intake import Destination, Intake, Origin, run
from aos.local.servicebus.journal import Journal, Statement
from aos.local.servicebus.message import Message, State
from aos.local.servicebus.rows import deleted, updated
from aos.local.servicebus.space import MessageTable, Space


class Holdings(ABC):
    """The messages of one entity; a dead-letter sub-queue counts on with its parent's numbers.

    `space` is that of the topic, for a subscription; a sub-queue shares its parent's.
    """

    def __init__(
        self,
        name: str,
        settings: EntitySettings,
        clock: Clock,
        journal: Journal,
        parent: "Holdings | None" = None,
        *,
        space: Space | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.clock = clock
        self.forward: Destination | None = None
        self.dead_letters: Holdings | None = None
        self.transfer_dead_letters: Holdings | None = None
        shared = space if parent is None else parent.space
        self.space: Space = shared or Space(name, settings.max_megabytes)
        self._journal = journal
        self._parent = parent
        self._messages = MessageTable(self.space)
        self._scheduled: list[tuple[int, int]] = []
        self._expiring: list[tuple[int, int]] = []
        self._alarm = Alarm(clock, self._tick)
        self._last_sequence = 0

    @property
    def message_count(self) -> int:
        """How many messages it holds, in whatever state."""
        return len(self._messages)

    def peek(self, from_sequence: int, count: int, session_id: str | None = None) -> list[Message]:
        """Messages in order of sequence number, whatever their state, without locking them."""
        numbers = sorted(self._messages)  # quick: they are almost in order
        later = (self._messages[number] for number in numbers[bisect_left(numbers, from_sequence) :])
        wanted = (each for each in later if session_id is None or each.session_id == session_id)
        return list(islice(wanted, max(count, 0)))

    def stop(self) -> None:
        """Ring no more."""
        self._alarm.cancel()

    @abstractmethod
    def _make_ready(self, message: Message) -> None:
        """An active message that nobody has locked may be received."""

    @abstractmethod
    def _tick(self) -> None:
        """The alarm rings: something falls due."""

    def _set_alarm(self) -> None:
        """Ring when the next thing falls due."""
        for heap in (self._scheduled, self._expiring):
            if heap:
                self._alarm.at(heap[0][0])

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

    def _add(self, message: Message) -> None:
        """A message whose row is written becomes part of the entity."""
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

    def _forget(self, message: Message) -> None:
        self._messages.discard(message.sequence_number)
        message.lock_token = None

    def _pass_on(self, forward: Destination, message: Message) -> None:
        """A dead letter goes on, or a scheduled message whose time has come."""
        intake = Intake()
        origin = Origin(
            message.sequence_number,
            message.dead_letter_source,
            message.dead_letter_reason,
            message.dead_letter_description,
        )
        try:
            forward.take_in(message.content, intake, 0, origin)
        except BrokerError as error:
            run(intake.refused)
            self._not_passed_on(message, error)
            return
        self._journal.record([deleted(message), *intake.written()])
        self._forget(message)
        run(intake.accepted)

    def _not_passed_on(self, message: Message, error: BrokerError) -> None:
        """The entity that it is forwarded to does not take it."""
        assert self.transfer_dead_letters is not None, f"{self.name} has a destination that refuses"
        self._move_now(message, self.transfer_dead_letters, DeadLettering.untransferable(self._source, error))

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

    def _watch_expiry(self, message: Message) -> None:
        if message.expires_ms is not None and message.state is not State.SCHEDULED:
            heapq.heappush(self._expiring, (message.expires_ms, message.sequence_number))
            self._alarm.at(message.expires_ms)

    def _expire_messages(self, now_ms: int) -> None:
        while self._expiring and self._expiring[0][0] <= now_ms:
            _, number = heapq.heappop(self._expiring)
            message = self._messages.get(number)
            if message is not None and message.lock_token is None and message.expires_ms is not None:
                self._expire(message)

    def _expired(self, message: Message) -> bool:
        if message.expires_ms is None or message.expires_ms > self.clock.now_ms():
            return False
        self._expire(message)
        return True

    def _expire(self, message: Message) -> None:
        """A message's time to live is over."""
        if self.settings.dead_letter_on_expiration and self.dead_letters is not None:
            self._move_now(message, self.dead_letters, DeadLettering.expired(self._source))
        else:
            self._journal.record([deleted(message)])
            self._forget(message)

    @property
    def _source(self) -> str:
        """What its dead letters say they come from."""
        return self._parent.name if self._parent else self.name

    def _move(self, message: Message, target: "Holdings", why: DeadLettering) -> Intake:
        """What moves a message to dead letters, which may forward it."""

        def moved() -> None:
            self._messages.discard(message.sequence_number)
            why.mark(message)
            target._add(message)

        return Intake([why.row(target.name, message)], [moved])

    def _move_now(self, message: Message, target: "Holdings", why: DeadLettering) -> None:
        intake = self._move(message, target, why)
        self._journal.record(intake.statements)
        run(intake.accepted)
