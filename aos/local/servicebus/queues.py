"""A queue: what senders bring becomes part of what it holds, and goes out again as deliveries.

All state is in memory on the loop and every change goes through the journal first: a message becomes
visible, a lock is given out and a settlement answered only when it is on disk. What time does (a lock
that expires, a message whose time has come) has happened whether or not the disk agrees: it is recorded.
"""

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from aos.local.servicebus.clock import Clock
from aos.local.servicebus.content import Content
from aos.local.servicebus.dead_letters import DeadLettering
from aos.local.servicebus.deliveries import Deliveries
from aos.local.servicebus.duplicates import DuplicateHistory
from aos.local.servicebus.entities import EntitySettings
from aos.local.servicebus.errors import (
    BrokerError,
    EntityDisabledError,
    InvalidFieldError,
    MaxTransferHopCountExceededError,
    NotAllowedError,
)
from aos.local.servicebus.holdings import Holdings
from aos.local.servicebus.intake import Destination, Intake, Origin, run
from aos.local.servicebus.journal import Journal, then
from aos.local.servicebus.message import Message, State
from aos.local.servicebus.rows import deleted, inserted
from aos.local.servicebus.space import Space

_MAX_HOPS = 4


class Queue(Deliveries):
    """A queue, a subscription's queue, or a dead-letter sub-queue."""

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
        self._duplicates = DuplicateHistory(name, settings.duplicate_window_ms, journal)

    def take_in(
        self, content: Content, intake: Intake, scheduled_ms: int, origin: Origin | None = None
    ) -> None:
        """Add one message to `intake`, unless it is a duplicate. Raises BrokerError: it is not taken."""
        self.check_sendable()
        fields = content.property_fields()
        content.application_properties()  # what filters will read later is checked now
        message_id = _text(fields.get("message_id"))
        if message_id is None:
            message_id = uuid.uuid4().hex
            content = content.with_properties({"message_id": message_id})
        session_id = fields.get("group_id")
        if self._lacks_session(session_id) and origin is None:
            raise NotAllowedError(f"{self.name} requires sessions: the message has no session id")
        if self.space.name == self.name:  # a topic has checked for its subscriptions
            self.space.check(len(content.raw))
        if not self._duplicates.admit(message_id, self.clock.now_ms(), intake):
            intake.sequence_numbers.append(0)
            return
        sequence_number = self._next_sequence()
        intake.sequences[self.name] = sequence_number
        intake.sequence_numbers.append(sequence_number)
        now_ms = self.clock.now_ms()
        if self.forward is not None and scheduled_ms <= now_ms:
            onward = origin or Origin(sequence_number)
            try:
                self._forward(self.forward, content, intake, onward)
            except BrokerError as error:
                assert self.transfer_dead_letters is not None, f"{self.name} forwards to what refuses"
                message = self._message(content, sequence_number, onward)
                DeadLettering.untransferable(self.name, error).mark(message)
                _put(message, self.transfer_dead_letters, intake)
            return
        message = self._message(content, sequence_number, origin)
        if scheduled_ms > now_ms:
            message.state, message.scheduled_ms = State.SCHEDULED, scheduled_ms
        self._take_in_new(message, intake)

    def _forward(self, target: Destination, content: Content, intake: Intake, origin: Origin) -> None:
        """Add the message to the intake of the entity that it is forwarded to. Raises BrokerError."""
        if origin.hops > _MAX_HOPS:
            most = f"a message is forwarded {_MAX_HOPS} times at most"
            raise MaxTransferHopCountExceededError(f"{self.name}: {most}")
        onward = Intake()
        try:
            target.take_in(content, onward, 0, replace(origin, hops=origin.hops + 1))
        except BrokerError:
            run(onward.refused)
            raise
        intake.absorb(onward)

    def _message(self, content: Content, sequence_number: int, origin: Origin | None) -> Message:
        fields = content.property_fields()
        session_id = fields.get("group_id")
        message = Message(
            id=self._journal.next_id(),
            sequence_number=sequence_number,
            content=content,
            message_id=_text(fields.get("message_id")),
            session_id=session_id if isinstance(session_id, str) else None,
            enqueued_ms=self.clock.now_ms(),
            ttl_ms=_least(content.ttl_ms, self.settings.default_ttl_ms),
        )
        if origin is not None:
            message.enqueued_sequence_number = origin.sequence_number
            message.dead_letter_source = origin.dead_letter_source
            message.dead_letter_reason = origin.dead_letter_reason
            message.dead_letter_description = origin.dead_letter_description
        return message

    def check_sendable(self) -> None:
        """Raises EntityDisabledError if the entity's status forbids to send."""
        if not self.settings.status.sends:
            raise EntityDisabledError(f"{self.name} is disabled: nothing can be sent to it")

    def take_in_dead(
        self, content: Content, intake: Intake, origin: Origin | None, error: BrokerError
    ) -> None:
        """Add a message that a rule's action cannot change to the dead letters."""
        assert self.dead_letters is not None
        sequence_number = self._next_sequence()
        intake.sequences[self.name] = sequence_number
        message = self._message(content, sequence_number, origin)
        DeadLettering(self.name, "RuleActionFailed", error.description).mark(message)
        _put(message, self.dead_letters, intake)

    def _take_in_new(self, message: Message, intake: Intake) -> None:
        target: Holdings = self
        if self._lacks_session(message.session_id) and self.dead_letters is not None:
            target = self.dead_letters
            DeadLettering(self.name, "Session id is null.", None).mark(message)
        _put(message, target, intake)

    def _lacks_session(self, session_id: Any) -> bool:
        return self.settings.requires_session and not isinstance(session_id, str)

    def cancel_scheduled(self, sequence_numbers: Sequence[int]) -> "asyncio.Future[None]":
        """Remove scheduled messages. Raises MessageNotFoundError if one is not there, changing nothing."""
        messages = [self._find(number, State.SCHEDULED) for number in dict.fromkeys(sequence_numbers)]
        for message in messages:
            del self._messages[message.sequence_number]
        done = self._journal.submit([deleted(message) for message in messages])
        return then(done, lambda error: self._put_back(messages, error))

    def _put_back(self, messages: Iterable[Message], error: BrokerError | None) -> None:
        if error is not None:
            for message in messages:
                self._add(message)

    def recall(self, messages: Iterable[Message], last_sequence: int) -> None:
        """Take up an earlier run's numbers and history: all entities do, before one forwards to another."""
        self._last_sequence = max(last_sequence, *(message.sequence_number for message in messages), 0)
        self._duplicates.restore(self.clock.now_ms())

    def restore(self, messages: Iterable[Message]) -> None:
        """Take up the messages of an earlier run; locks hold until they would have expired."""
        locked = []
        for message in messages:
            if message.lock_token is None:
                if not self._bury_exhausted(message):
                    self._add(message)
            else:
                self._messages[message.sequence_number] = message
                self._watch_expiry(message)
                locked.append(message)
        for message in sorted(locked, key=lambda each: each.locked_until_ms):
            self._locked[message.lock_token or b""] = message
        self._set_alarm()

    def _tick(self) -> None:
        now_ms = self.clock.now_ms()
        self._end_pause(now_ms)
        self._expire_locks(now_ms)
        self._activate_scheduled(now_ms)
        self._expire_messages(now_ms)
        self._duplicates.forget(now_ms)
        self._set_alarm()
        self.dispatch()


def _put(message: Message, target: Holdings, intake: Intake) -> None:
    """Add a new message of an entity to what it goes into: itself, or dead letters of its."""
    intake.statements.append(inserted(target.name, message))
    intake.accepted.append(lambda: target._add(message))


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
