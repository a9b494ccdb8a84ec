"""Receiving in the broker's own process: what the Functions host uses, without a hop over AMQP."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from aos.local.servicebus.amqp_types import Symbol
from aos.local.servicebus.content import Content
from aos.local.servicebus.encoding import encode, encode_map
from aos.local.servicebus.errors import LockLostError
from aos.local.servicebus.message import Message, dead_letter_properties
from aos.local.servicebus.queues import Queue


@dataclass(frozen=True)
class ReceivedMessage:
    """A locked message. `delivery_count` counts earlier deliveries: 0 at first, as on the wire."""

    content: Content
    sequence_number: int
    enqueued_sequence_number: int
    delivery_count: int
    enqueued_time_utc: datetime
    expires_at_utc: datetime | None
    ttl: timedelta | None
    lock_token: str
    locked_until_utc: datetime
    dead_letter_source: str | None
    dead_letter_reason: str | None
    dead_letter_description: str | None
    _encode: Callable[[], bytes]

    def to_amqp(self) -> bytes:
        """The message as AMQP, its lock token among the delivery annotations. While it is locked."""
        token = encode(Symbol("x-opt-lock-token")) + encode(uuid.UUID(self.lock_token))
        return b"\x00\x53\x71" + encode_map([token]) + self._encode()

    @cached_property
    def body(self) -> bytes:
        """The body's bytes."""
        return self.content.body()

    @cached_property
    def application_properties(self) -> dict[str, Any]:
        """The application properties, with those that say why a message was dead-lettered."""
        added = dead_letter_properties(self.dead_letter_reason, self.dead_letter_description)
        return self.content.application_properties() | added

    @cached_property
    def _properties(self) -> dict[str, Any]:
        return self.content.property_fields()

    def _text(self, name: str) -> str | None:
        value = self._properties.get(name)
        return None if value is None else str(value)

    @property
    def message_id(self) -> str | None:
        """The id that the sender gave."""
        return self._text("message_id")

    @property
    def correlation_id(self) -> str | None:
        """The id of what this message belongs to."""
        return self._text("correlation_id")

    @property
    def content_type(self) -> str | None:
        """The body's MIME type."""
        return self._text("content_type")

    @property
    def subject(self) -> str | None:
        """The subject, also called label."""
        return self._text("subject")

    @property
    def reply_to(self) -> str | None:
        """Where answers go."""
        return self._text("reply_to")

    @property
    def reply_to_session_id(self) -> str | None:
        """The session that answers belong to."""
        return self._text("reply_to_group_id")

    @property
    def to(self) -> str | None:
        """The address that the sender gave."""
        return self._text("to")

    @property
    def session_id(self) -> str | None:
        """The session that the message belongs to."""
        return self._text("group_id")

    @property
    def partition_key(self) -> str | None:
        """The partition key."""
        return self._annotation("x-opt-partition-key")

    @property
    def via_partition_key(self) -> str | None:
        """The partition key of the transfer queue."""
        return self._annotation("x-opt-via-partition-key")

    def _annotation(self, name: str) -> str | None:
        value = self.content.annotations.get(name)
        return None if value is None else str(value)


class Receiver:
    """Receives from one queue by peek-lock. One `receive` at a time; settling at any time."""

    removes = False

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._wanted = 0
        self._reserved = 0
        self._arrived: list[Message] = []
        self._changed = asyncio.Event()
        self._closed = False
        self._join()

    def _join(self) -> None:
        """Compete for messages from now on."""
        self._queue.attach(self)

    @property
    def open(self) -> bool:
        """Whether it can receive: it was not stopped, and (of a session) the lock was not lost."""
        return not self._closed

    async def receive(self, max_count: int, timeout_s: float) -> list[ReceivedMessage]:
        """Lock up to `max_count` messages; waits up to `timeout_s` for the first one, then returns []."""
        if self._closed or self._wanted:
            raise RuntimeError("the receiver is closed" if self._closed else "a receive is under way already")
        self._wanted = max_count
        try:
            self._queue.dispatch()
            await self._wait(timeout_s)
        except BaseException:  # cancelled: nobody will get what has arrived
            for message in self._take_arrived():
                self._queue.give_back_unseen(message)
            raise
        return [_received(message) for message in self._take_arrived()]

    async def complete(self, lock_token: str) -> None:
        """The message is done with. Raises LockLostError."""
        await self._queue.complete(_tag(lock_token))

    async def abandon(self, lock_token: str) -> None:
        """Give the message back, one delivery attempt later. Raises LockLostError."""
        await self._queue.abandon(_tag(lock_token))

    async def release(self, lock_token: str) -> None:
        """Give the message back as if it had not been delivered. Raises LockLostError."""
        await self._queue.release(_tag(lock_token))

    async def defer(self, lock_token: str) -> None:
        """Set the message aside until it is asked for by its sequence number. Raises LockLostError."""
        await self._queue.defer(_tag(lock_token))

    async def dead_letter(self, lock_token: str, reason: str | None, description: str | None) -> None:
        """Move the message to the dead letters. Raises LockLostError."""
        await self._queue.dead_letter(_tag(lock_token), reason, description)

    async def renew_lock(self, lock_token: str) -> datetime:
        """Hold the lock for another lock duration; returns its end. Raises LockLostError."""
        return _utc(await self._queue.renew(_tag(lock_token)))

    def stop(self) -> None:
        """Receive no more: a `receive` that is under way ends. What is locked can still be settled."""
        self._closed = True
        self._changed.set()

    async def close(self) -> None:
        """Receive no more; messages that are locked stay so until their locks expire."""
        self.stop()
        self._queue.detach(self)

    def wanted(self) -> int:
        """What the current `receive` still takes."""
        return 0 if self._closed else self._wanted - self._reserved - len(self._arrived)

    def reserve(self, count: int) -> None:
        """So many messages are being locked."""
        self._reserved += count

    def unreserve(self, count: int) -> None:
        """So many were not locked."""
        self._reserved -= count
        self._changed.set()

    def deliver(self, message: Message) -> bool:
        """Take a message for the `receive` that is under way."""
        self._reserved -= 1
        self._changed.set()
        if self._closed or not self._wanted:
            return False
        self._arrived.append(message)
        return True

    def _take_arrived(self) -> list[Message]:
        self._wanted = 0
        arrived, self._arrived = self._arrived, []
        return arrived

    async def _wait(self, timeout_s: float) -> None:
        """Until something has arrived and nothing is on its way, or the time is over."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not self._closed and (self._reserved or not self._arrived):
            self._changed.clear()
            try:
                # What is being locked arrives within a commit: wait for it even when the time is over.
                async with asyncio.timeout_at(None if self._reserved else deadline):
                    await self._changed.wait()
            except TimeoutError:
                if not self._reserved:
                    return


def _received(message: Message) -> ReceivedMessage:
    expires_ms = message.expires_ms
    return ReceivedMessage(
        content=message.content,
        sequence_number=message.sequence_number,
        enqueued_sequence_number=message.enqueued_sequence_number,
        delivery_count=message.delivery_count,
        enqueued_time_utc=_utc(message.enqueued_ms),
        expires_at_utc=None if expires_ms is None else _utc(expires_ms),
        ttl=None if message.ttl_ms is None else timedelta(milliseconds=message.ttl_ms),
        lock_token=str(uuid.UUID(bytes_le=message.lock_token or bytes(16))),
        locked_until_utc=_utc(message.locked_until_ms),
        dead_letter_source=message.dead_letter_source,
        dead_letter_reason=message.dead_letter_reason,
        dead_letter_description=message.dead_letter_description,
        _encode=message.encode,
    )


def _utc(when_ms: int) -> datetime:
    latest_ms = 253_402_300_799_000  # the end of year 9999, datetime's last
    return datetime.fromtimestamp(min(when_ms, latest_ms) / 1000, UTC)


def _tag(lock_token: str) -> bytes:
    try:
        return uuid.UUID(lock_token).bytes_le
    except ValueError:
        raise LockLostError(f"{lock_token!r} is no lock token") from None
