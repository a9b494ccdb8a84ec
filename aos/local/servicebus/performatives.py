"""The frames of AMQP 1.0 (OASIS amqp-core-transport and -security): typed bodies and their bytes."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from aos.local.servicebus.amqp_types import Array, Described, Symbol, UByte, UInt, ULong, UShort
from aos.local.servicebus.decoding import decode
from aos.local.servicebus.encoding import encode
from aos.local.servicebus.errors import BrokerError, DecodeError

AMQP_HEADER = b"AMQP\x00\x01\x00\x00"
SASL_HEADER = b"AMQP\x03\x01\x00\x00"
EMPTY_FRAME = b"\x00\x00\x00\x08\x02\x00\x00\x00"
SENDER, RECEIVER = False, True  # values of a link's `role`

ACCEPTED = Described(0x24, [])
RELEASED = Described(0x26, [])


@dataclass(slots=True)
class Open:
    """Negotiates a connection."""

    WIRE: ClassVar = ("string", "string", "uint", "ushort", "uint", "any", "any", "any", "any", "any")
    container_id: str = ""
    hostname: str | None = None
    max_frame_size: int | None = None
    channel_max: int | None = None
    idle_time_out: int | None = None
    outgoing_locales: Any = None
    incoming_locales: Any = None
    offered_capabilities: Any = None
    desired_capabilities: Any = None
    properties: Any = None


@dataclass(slots=True)
class Begin:
    """Starts a session on a channel."""

    WIRE: ClassVar = ("ushort", "uint!", "uint!", "uint!", "uint", "any", "any", "any")
    remote_channel: int | None
    next_outgoing_id: int
    incoming_window: int
    outgoing_window: int
    handle_max: int | None = None
    offered_capabilities: Any = None
    desired_capabilities: Any = None
    properties: Any = None


@dataclass(slots=True)
class Attach:
    """Attaches a link to a session."""

    WIRE: ClassVar = (
        *("string!", "uint!", "boolean!", "ubyte", "ubyte", "any", "any"),
        *("any", "boolean", "uint", "ulong", "any", "any", "any"),
    )
    name: str
    handle: int
    role: bool
    snd_settle_mode: int | None = None
    rcv_settle_mode: int | None = None
    source: Any = None
    target: Any = None
    unsettled: Any = None
    incomplete_unsettled: bool | None = None
    initial_delivery_count: int | None = None
    max_message_size: int | None = None
    offered_capabilities: Any = None
    desired_capabilities: Any = None
    properties: Any = None


@dataclass(slots=True)
class Flow:
    """Updates the windows of a session and the credit of a link."""

    WIRE: ClassVar = (
        *("uint", "uint!", "uint!", "uint!", "uint", "uint"),
        *("uint", "uint", "boolean", "boolean", "any"),
    )
    next_incoming_id: int | None
    incoming_window: int
    next_outgoing_id: int
    outgoing_window: int
    handle: int | None = None
    delivery_count: int | None = None
    link_credit: int | None = None
    available: int | None = None
    drain: bool | None = None
    echo: bool | None = None
    properties: Any = None


@dataclass(slots=True)
class Transfer:
    """Carries a message, or a part of one, in the frame's payload."""

    WIRE: ClassVar = (
        *("uint!", "uint", "binary", "uint", "boolean", "boolean"),
        *("ubyte", "any", "boolean", "boolean", "boolean"),
    )
    handle: int
    delivery_id: int | None = None
    delivery_tag: bytes | None = None
    message_format: int | None = None
    settled: bool | None = None
    more: bool | None = None
    rcv_settle_mode: int | None = None
    state: Any = None
    resume: bool | None = None
    aborted: bool | None = None
    batchable: bool | None = None


@dataclass(slots=True)
class Disposition:
    """Tells the state of a range of deliveries."""

    WIRE: ClassVar = ("boolean!", "uint!", "uint", "boolean", "any", "boolean")
    role: bool
    first: int
    last: int | None = None
    settled: bool | None = None
    state: Any = None
    batchable: bool | None = None


@dataclass(slots=True)
class Detach:
    """Detaches a link."""

    WIRE: ClassVar = ("uint!", "boolean", "any")
    handle: int
    closed: bool | None = None
    error: Any = None


@dataclass(slots=True)
class End:
    """Ends a session."""

    WIRE: ClassVar = ("any",)
    error: Any = None


@dataclass(slots=True)
class Close:
    """Closes a connection."""

    WIRE: ClassVar = ("any",)
    error: Any = None


@dataclass(slots=True)
class SaslInit:
    """The mechanism that the client chose, with its first response."""

    WIRE: ClassVar = ("symbol!", "binary", "string")
    mechanism: str
    initial_response: bytes | None = None
    hostname: str | None = None


Performative = Open | Begin | Attach | Flow | Transfer | Disposition | Detach | End | Close | SaslInit

_CODES: dict[int, type[Performative]] = {
    0x10: Open,
    0x11: Begin,
    0x12: Attach,
    0x13: Flow,
    0x14: Transfer,
    0x15: Disposition,
    0x16: Detach,
    0x17: End,
    0x18: Close,
    0x41: SaslInit,
}
_DESCRIPTORS = {kind: b"\x00\x53" + bytes((code,)) for code, kind in _CODES.items()}
_NAMES = {kind: [field.name for field in fields(kind)] for kind in _CODES.values()}
_PYTHON_TYPES: dict[str, type] = {
    "string": str,
    "symbol": str,
    "binary": bytes,
    "boolean": bool,
    "any": object,
}
_CHECKS: dict[type[Performative], list[tuple[str, type, bool]]] = {
    kind: [
        (name, _PYTHON_TYPES.get(wire.rstrip("!"), int), wire.endswith("!"))
        for name, wire in zip(_NAMES[kind], kind.WIRE, strict=True)
    ]
    for kind in _CODES.values()
}
_WRAP: dict[str, Callable[[Any], Any]] = {
    "uint": UInt,
    "ushort": UShort,
    "ubyte": UByte,
    "ulong": ULong,
    "symbol": Symbol,
}


def decode_performative(body: bytes) -> tuple[Performative, bytes]:
    """The performative at the start of a frame's body, checked field by field, and the payload after it."""
    value, end = decode(body)
    if not isinstance(value, Described) or not isinstance(value.value, list):
        raise DecodeError("a frame's body must be a described list")
    kind = _CODES.get(value.descriptor) if isinstance(value.descriptor, int) else None
    if kind is None:
        raise DecodeError(f"unknown performative {value.descriptor!r}")
    checks = _CHECKS[kind]
    items: list[Any] = value.value
    if len(items) > len(checks):
        raise DecodeError(f"{kind.__name__} with {len(items)} fields")
    for item, (name, python_type, _) in zip(items, checks, strict=False):
        right = isinstance(item, python_type) and not (isinstance(item, int) and item < 0)
        if item is not None and not right:
            raise DecodeError(f"{kind.__name__}.{name} has the wrong type: {type(item).__name__}")
    items += [None] * (len(checks) - len(items))
    for item, (name, _, required) in zip(items, checks, strict=True):
        if required and item is None:
            raise DecodeError(f"{kind.__name__}.{name} is missing")
    return kind(*items), body[end:]


def encode_frame(channel: int, performative: Performative, payload: bytes = b"") -> bytes:
    """A whole AMQP frame."""
    kind = type(performative)
    values = [
        _encode_field(getattr(performative, name), wire)
        for name, wire in zip(_NAMES[kind], kind.WIRE, strict=True)
    ]
    while values and values[-1] == b"\x40":
        values.pop()
    return frame(channel, _DESCRIPTORS[kind] + encoded_list(values) + payload)


def encode_transfer(
    channel: int,
    handle: int,
    delivery_id: int,
    tag: bytes | None,
    payload: bytes,
    *,
    settled: bool,
    more: bool,
) -> bytes:
    """A transfer frame: the generic encoding takes too long for the most frequent frame."""
    fields_ = b"".join(
        (
            encode(UInt(handle)),
            encode(UInt(delivery_id)),
            encode(tag),
            b"\x43",
            b"\x41" if settled else b"\x42",
            b"\x41" if more else b"\x42",
        )
    )
    body = b"\x00\x53\x14\xc0" + bytes((len(fields_) + 1, 6)) + fields_ + payload
    return (len(body) + 8).to_bytes(4) + b"\x02\x00" + channel.to_bytes(2) + body


def encode_sasl(code: int, *values: Any) -> bytes:
    """A SASL frame: mechanisms (0x40) or outcome (0x44)."""
    body = b"\x00\x53" + bytes((code,)) + encode(list(values))
    return (len(body) + 8).to_bytes(4) + b"\x02\x01\x00\x00" + body


def frame(channel: int, body: bytes) -> bytes:
    """A frame around an encoded body."""
    return (len(body) + 8).to_bytes(4) + b"\x02\x00" + channel.to_bytes(2) + body


def encoded_list(values: list[bytes]) -> bytes:
    """A list of values that are already encoded."""
    body = b"".join(values)
    if len(body) < 255 and len(values) < 256:
        return bytes((0xC0, len(body) + 1, len(values))) + body
    return b"\xd0" + (len(body) + 4).to_bytes(4) + len(values).to_bytes(4) + body


def error_value(error: BrokerError) -> Described:
    """An AMQP error with all three fields: without `info` the Python SDK hangs."""
    return Described(0x1D, [Symbol(error.condition), error.description, {}])


def rejected(error: BrokerError) -> Described:
    """The outcome that refuses a delivery, or a settlement."""
    return Described(0x25, [error_value(error)])


def symbols(*names: str) -> Array:
    """An array of symbols."""
    return Array(Symbol, [Symbol(name) for name in names])


def _encode_field(value: Any, wire: str) -> bytes:
    if value is None:
        return b"\x40"
    wrap = _WRAP.get(wire.rstrip("!"))
    return encode(value if wrap is None else wrap(value))
