"""Deliveries: ready messages are locked and handed out, in turn, to the consumers that want some."""

import asyncio
import heapq
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from aos.local.servicebus.clock import Clock
from aos.local.servicebus.entities import EntitySettings
from aos.local.servicebus.errors import EntityDisabledError, MessageNotFoundError
from aos.local.servicebus.holdings import Holdings
from aos.local.servicebus.journal import Journal
from aos.local.servicebus.message import Message, State
from aos.local.servicebus.peek_lock import PeekLock
from aos.local.servicebus.space import Space

_RETRY_MS = 1000


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


class Deliveries(PeekLock):
    """Messages under peek-lock, and the consumers that compete for them."""

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
        self._ready: list[int] = []
        self._consumers: deque[Consumer] = deque()
        self._retry_dispatch_ms: int | None = None
        self._dispatch_planned = False

    def attach(self, consumer: Consumer) -> None:
        """Let a consumer compete for messages. Raises EntityDisabledError."""
        self.check_receivable()
        self._consumers.append(consumer)

    def check_receivable(self) -> None:
        """Raises EntityDisabledError if the entity's status forbids to receive."""
        if not self.settings.status.receives:
            raise EntityDisabledError(f"{self.name} is disabled: nothing can be received from it")

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
        self, sequence_numbers: Sequence[int], *, remove: bool, session_id: str | None = None
    ) -> "asyncio.Future[list[Message]]":
        """Lock (or remove) deferred messages, of one session if that is given.

        Raises MessageNotFoundError if one is not there.
        """
        messages = [self._find(number, State.DEFERRED) for number in dict.fromkeys(sequence_numbers)]
        if any(session_id not in (None, message.session_id) for message in messages):
            raise MessageNotFoundError(f"a deferred message does not belong to session {session_id!r}")
        if any(message.lock_token is not None for message in messages):
            raise MessageNotFoundError("a deferred message is locked by another receiver")
        statements = self._lock(messages, remove=remove)
        result: asyncio.Future[list[Message]] = asyncio.get_running_loop().create_future()

        def locked(done: "asyncio.Future[None]") -> None:
            error = done.exception()
            if error is not None:
                for message in messages:
                    message.lock_token = None
                if not result.cancelled():
                    result.set_exception(error)
                return
            for message in messages:
                self._lock_committed(message, remove=remove)
            self._set_alarm()
            if not result.cancelled():
                result.set_result(messages)

        self._journal.submit(statements).add_done_callback(locked)
        return result

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

    def _end_pause(self, now_ms: int) -> None:
        """Allow hand-outs again once the pause after one that could not be written is over."""
        if self._retry_dispatch_ms is not None and self._retry_dispatch_ms <= now_ms:
            self._retry_dispatch_ms = None

    def _set_alarm(self) -> None:
        super()._set_alarm()
        self._alarm.at(self._retry_dispatch_ms)
