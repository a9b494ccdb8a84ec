"""Protobuf as the hub uses it: wrappers, timestamps, and encoding by hand where parsing would cost.

A history is kept as encoded `OrchestratorRequest.pastEvents` fields. Concatenated they are a valid
message, so an instance's next turn is sent without parsing or encoding any event again.
"""

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import BoolValue, StringValue

from aos.local.taskhub.errors import HubError

__all__ = [
    "BoolValue",
    "Duration",
    "Empty",
    "StringValue",
    "Timestamp",
    "copy_fields",
    "encoded",
    "field",
    "field_head",
    "history_events",
    "micros",
    "new_event",
    "optional",
    "past_event",
    "text",
    "timestamp",
]

_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799

_LENGTH_DELIMITED = 2
_PAST_EVENTS = 3
_NEW_EVENTS = 4


def text(value: str | None) -> StringValue | None:
    """The wrapper of an optional string."""
    return None if value is None else StringValue(value=value)


def optional(message: Message, name: str) -> str | None:
    """The string in the wrapper field `name`, None where it is absent."""
    value: str | None = getattr(message, name).value if message.HasField(name) else None
    return value


def timestamp(when: int) -> Timestamp:
    """The timestamp of a time in microseconds."""
    seconds, rest = divmod(when, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def micros(when: Timestamp) -> int:
    """Microseconds since the epoch, rounded up: a timer never fires before its time."""
    if not _FIRST_SECOND <= when.seconds <= _LAST_SECOND:
        raise HubError(grpc.StatusCode.INVALID_ARGUMENT, f"{when.seconds} s: no time of the years 1 to 9999")
    return when.seconds * 1_000_000 - (-when.nanos // 1000)


def copy_fields(source: Message, target: Message, *names: str) -> None:
    """Copy the message fields that `source` has to those of the same names in `target`."""
    for name in names:
        if source.HasField(name):
            getattr(target, name).CopyFrom(getattr(source, name))


def encoded(message: Message) -> bytes:
    """The bytes of a message."""
    return message.SerializeToString()


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, payload: bytes) -> bytes:
    """`payload` as the length-delimited field `number` (field numbers below 16)."""
    return field_head(number, len(payload)) + payload


def field_head(number: int, size: int) -> bytes:
    """What comes before the `size` bytes of a length-delimited field."""
    if size <= 0x7F:
        return bytes((number << 3 | _LENGTH_DELIMITED, size))
    return bytes((number << 3 | _LENGTH_DELIMITED,)) + _varint(size)


def past_event(event: bytes) -> bytes:
    """An encoded event as it lies in a history."""
    return field(_PAST_EVENTS, event)


def new_event(event: bytes) -> bytes:
    """An encoded event as a turn receives it."""
    return field(_NEW_EVENTS, event)


def history_events(fragments: bytes) -> list[pb.HistoryEvent]:
    """The events in concatenated history fragments."""
    return list(pb.OrchestratorRequest.FromString(fragments).pastEvents)
