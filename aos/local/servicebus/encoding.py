"""AMQP 1.0 values to bytes (OASIS amqp-core-types).

The Python type chooses the encoding: an int is a long unless it is one of the sized types.
"""

import struct
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aos.local.servicebus.amqp_types import (
    Array,
    Described,
    Int,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
)


def encode(value: Any) -> bytes:
    """The bytes of a value. Raises TypeError for a type without an AMQP counterpart."""
    encoder = _ENCODERS.get(type(value))
    if encoder is not None:
        return encoder(value)
    for kind, plain in _STAND_INS.items():
        if isinstance(value, kind):
            return _ENCODERS[plain](plain(value))
    raise TypeError(f"{type(value).__name__} has no AMQP encoding")


def encode_map(pairs: Sequence[bytes]) -> bytes:
    """A map of entries that are already encoded."""
    body = b"".join(pairs)
    return b"\xd1" + (len(body) + 4).to_bytes(4) + (len(pairs) * 2).to_bytes(4) + body


def _sized(small: int, large: int, data: bytes) -> bytes:
    if len(data) < 256:
        return bytes((small, len(data))) + data
    return bytes((large,)) + len(data).to_bytes(4) + data


def _encode_uint(value: int) -> bytes:
    if value == 0:
        return b"\x43"
    return bytes((0x52, value)) if 0 < value < 256 else b"\x70" + value.to_bytes(4)


def _encode_ulong(value: int) -> bytes:
    if value == 0:
        return b"\x44"
    return bytes((0x53, value)) if 0 < value < 256 else b"\x80" + value.to_bytes(8)


def _encode_long(value: int) -> bytes:
    if -128 <= value < 128:
        return b"\x55" + value.to_bytes(1, signed=True)
    return b"\x81" + value.to_bytes(8, signed=True)


def _encode_list(value: Sequence[Any]) -> bytes:
    if not value:
        return b"\x45"
    body = b"".join(map(encode, value))
    if len(body) < 255 and len(value) < 256:
        return bytes((0xC0, len(body) + 1, len(value))) + body
    return b"\xd0" + (len(body) + 4).to_bytes(4) + len(value).to_bytes(4) + body


def _encode_mapping(value: Mapping[Any, Any]) -> bytes:
    return encode_map([encode(key) + encode(item) for key, item in value.items()])


def _encode_array(value: Array) -> bytes:
    constructor, encode_item = _ARRAY_ITEMS[value.kind]
    body = b"".join(map(encode_item, value.items))
    return b"\xf0" + (len(body) + 5).to_bytes(4) + len(value.items).to_bytes(4) + constructor + body


def _long_bytes(value: int) -> bytes:
    return value.to_bytes(8, signed=True)


def _long_sized(data: bytes) -> bytes:
    return len(data).to_bytes(4) + data


_ARRAY_ITEMS: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    int: (b"\x81", _long_bytes),
    Timestamp: (b"\x83", _long_bytes),
    str: (b"\xb1", lambda text: _long_sized(text.encode())),
    Symbol: (b"\xb3", lambda text: _long_sized(text.encode("ascii"))),
    uuid.UUID: (b"\x98", lambda value: value.bytes),
}
_STAND_INS: dict[type, type] = {
    Mapping: dict,
    list: list,
    tuple: list,
    bytearray: bytes,
    memoryview: bytes,
}
_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"\x40",
    bool: lambda value: b"\x41" if value else b"\x42",
    int: _encode_long,
    UByte: lambda value: bytes((0x50, value)),
    UShort: lambda value: b"\x60" + value.to_bytes(2),
    UInt: _encode_uint,
    ULong: _encode_ulong,
    Int: lambda value: b"\x71" + value.to_bytes(4, signed=True),
    float: lambda value: b"\x82" + struct.pack(">d", value),
    Timestamp: lambda value: b"\x83" + value.to_bytes(8, signed=True),
    uuid.UUID: lambda value: b"\x98" + value.bytes,
    bytes: lambda value: _sized(0xA0, 0xB0, value),
    str: lambda value: _sized(0xA1, 0xB1, value.encode()),
    Symbol: lambda value: _sized(0xA3, 0xB3, value.encode("ascii")),
    list: _encode_list,
    dict: _encode_mapping,
    Described: lambda value: b"\x00" + _encode_ulong_or(value.descriptor) + encode(value.value),
    Array: _encode_array,
}


def _encode_ulong_or(descriptor: Any) -> bytes:
    return _encode_ulong(descriptor) if type(descriptor) is int else encode(descriptor)
