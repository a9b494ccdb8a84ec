"""Messages: what a sender sent, what the broker knows of it, and the bytes that a receiver gets.

A message is kept as the bytes that came in. Sending it on copies the sections that the sender owns
(properties, application properties, body) and writes those that the broker owns (header, annotations).
"""

import uuid
from dataclasses import dataclass, field
from enum import IntEnum

from aos.local.servicebus.amqp_types import Int, Symbol, Timestamp, UByte, UInt
from aos.local.servicebus.content import LOCK_ANNOTATION, WIRE_MAX_TTL_MS, Content, with_pairs
from aos.local.servicebus.encoding import encode, encode_map
from aos.local.servicebus.performatives import encoded_list


class State(IntEnum):
    """What a message waits for; the numbers are those of x-opt-message-state."""

    ACTIVE = 0
    DEFERRED = 1
    SCHEDULED = 2


@dataclass(slots=True)
class Message:
    """A message in an entity. Times are milliseconds since the epoch."""

    id: int
    sequence_number: int
    content: Content
    message_id: str | None
    session_id: str | None
    enqueued_ms: int
    state: State = State.ACTIVE
    scheduled_ms: int = 0
    ttl_ms: int | None = None
    delivery_count: int = 0
    lock_token: bytes | None = None
    locked_until_ms: int = 0
    enqueued_sequence_number: int = 0
    dead_letter_source: str | None = None
    dead_letter_reason: str | None = None
    dead_letter_description: str | None = None
    size: int = field(init=False)  # bytes, as it came in

    def __post_init__(self) -> None:
        self.size = len(self.content.raw)

    @property
    def expires_ms(self) -> int | None:
        """When the message expires; a dead letter never does."""
        if self.ttl_ms is None or self.dead_letter_source is not None:
            return None
        return self.enqueued_ms + self.ttl_ms

    def encode_delivery(self) -> bytes:
        """The message as a receiver gets it, with what the sender and the broker tell of its delivery."""
        pairs = self.content.delivery_annotation_pairs
        if self.lock_token is not None:
            pairs = [*pairs, _LOCK + b"\x98" + uuid.UUID(bytes_le=self.lock_token).bytes]
        return self._encode(b"\x00\x53\x71" + encode_map(pairs))

    def encode(self) -> bytes:
        """The message as whoever peeks at it gets it."""
        return self._encode(b"")

    def _encode(self, delivery_annotations: bytes) -> bytes:
        content = self.content
        ttl = self.ttl_ms
        header = [
            encode(content.durable),
            b"\x40" if content.priority is None else encode(UByte(content.priority)),
            b"\x40" if ttl is None or ttl > WIRE_MAX_TTL_MS else encode(UInt(ttl)),
            b"\x40",
            encode(UInt(self.delivery_count)),
        ]
        return b"".join(
            (
                b"\x00\x53\x70",
                encoded_list(header),
                delivery_annotations,
                b"\x00\x53\x72",
                encode_map(content.annotation_pairs + self._own_annotations()),
                content.properties_bytes,
                self._application_bytes(),
                content.body_bytes,
            )
        )

    def _own_annotations(self) -> list[bytes]:
        pairs = [
            _SEQUENCE_NUMBER + encode(self.sequence_number),
            _ENQUEUED_TIME + encode(Timestamp(self.enqueued_ms)),
        ]
        if self.lock_token is not None:
            pairs.append(_LOCKED_UNTIL + encode(Timestamp(self.locked_until_ms)))
        if self.enqueued_sequence_number:
            pairs.append(_ENQUEUE_SEQUENCE_NUMBER + encode(self.enqueued_sequence_number))
        if self.state is not State.ACTIVE:
            pairs.append(_MESSAGE_STATE + encode(Int(self.state)))
        if self.dead_letter_source is not None:
            pairs.append(_DEAD_LETTER_SOURCE + encode(self.dead_letter_source))
        return pairs

    def _application_bytes(self) -> bytes:
        added = dead_letter_properties(self.dead_letter_reason, self.dead_letter_description)
        original = self.content.application_bytes
        return with_pairs(original, added) if added else original


def dead_letter_properties(reason: str | None, description: str | None) -> dict[str, str]:
    """The application properties by which clients read why a message was dead-lettered."""
    named = {"DeadLetterReason": reason, "DeadLetterErrorDescription": description}
    return {name: value for name, value in named.items() if value is not None}


def _key(name: str) -> bytes:
    return encode(Symbol(name))


_SEQUENCE_NUMBER = _key("x-opt-sequence-number")
_ENQUEUED_TIME = _key("x-opt-enqueued-time")
_LOCKED_UNTIL = _key("x-opt-locked-until")
_ENQUEUE_SEQUENCE_NUMBER = _key("x-opt-enqueue-sequence-number")
_MESSAGE_STATE = _key("x-opt-message-state")
_DEAD_LETTER_SOURCE = _key("x-opt-deadletter-source")
_LOCK = _key(LOCK_ANNOTATION)
