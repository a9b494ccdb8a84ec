"""The AMQP 1.0 type system (OASIS amqp-core-types): values to bytes and back.

Decoding gives plain Python values; `Symbol`, `Timestamp` and `Described` keep what plain values would
lose. Encoding chooses by the Python type: an int is a long unless it is one of the sized types below.
"""

import struct
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aos.local.servicebus.errors import DecodeError

_MAX_DEPTH = 32
_MAX_EMPTY_ELEMENTS = 4096


class Symbol(str):
    """An ASCII symbol."""

    __slots__ = ()


class Timestamp(int):
    """Milliseconds since the epoch."""


class UInt(int):
    """An unsigned 32-bit integer."""


class ULong(int):
    """An unsigned 64-bit integer."""


class Int(int):
    """A signed 32-bit integer."""


class UShort(int):
    """An unsigned 16-bit integer."""


class UByte(int):
    """An unsigned 8-bit integer."""


@dataclass(frozen=True, slots=True)
class Described:
    """A value with a descriptor: a numeric code, or a symbol."""

    descriptor: Any
    value: Any


@dataclass(frozen=True, slots=True)
class Array:
    """Items of one type, to be encoded as an AMQP array."""

    kind: type
    items: Sequence[Any]


Decoder = Callable[[bytes, int, int], tuple[Any, int]]


def decode(data: bytes, position: int = 0) -> tuple[Any, int]:
    """The value at `position` and the position after it. Raises DecodeError for anything malformed."""
    try:
        return _decode(data, position, 0)
    except (IndexError, struct.error, UnicodeDecodeError, TypeError, ValueError) as error:
        raise DecodeError(f"malformed AMQP value at byte {position}: {error}") from error


def skip(data: bytes, position: int, depth: int = 0) -> int:
    """The position after the value at `position`, without decoding it."""
    try:
        code = data[position]
        if code == 0 and depth < _MAX_DEPTH:
            return skip(data, skip(data, position + 1, depth + 1), depth + 1)
        position += 1
        width = code >> 4
        if width in _FIXED_WIDTH:
            end = position + _FIXED_WIDTH[width]
        elif width in (0xA, 0xC, 0xE):
            end = position + 1 + data[position]
        elif width in (0xB, 0xD, 0xF):
            end = position + 4 + int.from_bytes(data[position : position + 4])
        else:
            raise DecodeError(f"unknown AMQP constructor 0x{code:02x}")
    except IndexError as error:
        raise DecodeError("truncated AMQP value") from error
    if end > len(data):
        raise DecodeError("truncated AMQP value")
    return end


def map_pairs(data: bytes, position: int) -> list[tuple[Any, bytes]]:
    """The entries of the map at `position`: each key, and the bytes of key and value together."""
    code = data[position]
    if code == 0xC1:
        count, position = data[position + 2], position + 3
    elif code == 0xD1:
        count, position = int.from_bytes(data[position + 5 : position + 9]), position + 9
    elif code == 0x40:
        return []
    else:
        raise DecodeError(f"expected a map, found constructor 0x{code:02x}")
    pairs = []
    for _ in range(count // 2):
        key, middle = decode(data, position)
        end = skip(data, middle)
        pairs.append((key, data[position:end]))
        position = end
    return pairs


def list_items(data: bytes, position: int) -> list[bytes]:
    """The items of the list at `position`, each as its bytes."""
    code = data[position]
    if code == 0xC0:
        count, position = data[position + 2], position + 3
    elif code == 0xD0:
        count, position = int.from_bytes(data[position + 5 : position + 9]), position + 9
    elif code == 0x45:
        return []
    else:
        raise DecodeError(f"expected a list, found constructor 0x{code:02x}")
    items = []
    for _ in range(count):
        end = skip(data, position)
        items.append(data[position:end])
        position = end
    return items


def encode_map(pairs: Sequence[bytes]) -> bytes:
    """A map of entries that are already encoded."""
    body = b"".join(pairs)
    return b"\xd1" + (len(body) + 4).to_bytes(4) + (len(pairs) * 2).to_bytes(4) + body


def encode(value: Any) -> bytes:
    """The bytes of a value. Raises TypeError for a type without an AMQP counterpart."""
    encoder = _ENCODERS.get(type(value))
    if encoder is not None:
        return encoder(value)
    for kind, plain in _STAND_INS.items():
        if isinstance(value, kind):
            return _ENCODERS[plain](plain(value))
    raise TypeError(f"{type(value).__name__} has no AMQP encoding")


def _decode(data: bytes, position: int, depth: int) -> tuple[Any, int]:
    decoder = _DECODERS[data[position]]
    if decoder is None:
        raise DecodeError(f"unknown AMQP constructor 0x{data[position]:02x}")
    return decoder(data, position + 1, depth)


def _constant(value: Any) -> Decoder:
    return lambda _data, position, _depth: (value, position)


def _fixed(format_: str, width: int, kind: Callable[[Any], Any] | None = None) -> Decoder:
    unpack = struct.Struct(format_).unpack_from
    if kind is None:
        return lambda data, position, _depth: (unpack(data, position)[0], position + width)
    return lambda data, position, _depth: (kind(unpack(data, position)[0]), position + width)


def _raw(width: int, kind: Callable[[bytes], Any]) -> Decoder:
    def decoder(data: bytes, position: int, _depth: int) -> tuple[Any, int]:
        return kind(_slice(data, position, position + width)), position + width

    return decoder


def _variable(size_width: int, kind: Callable[[bytes], Any]) -> Decoder:
    def decoder(data: bytes, position: int, _depth: int) -> tuple[Any, int]:
        start = position + size_width
        end = start + int.from_bytes(_slice(data, position, start))
        return kind(_slice(data, start, end)), end

    return decoder


def _slice(data: bytes, start: int, end: int) -> bytes:
    if end > len(data):
        raise DecodeError("truncated AMQP value")
    return data[start:end]


def _compound(
    data: bytes, position: int, size_width: int, depth: int, least_item: int
) -> tuple[int, int, int]:
    """Count, first position and end of a list, map or array, all checked against the bytes there are."""
    if depth > _MAX_DEPTH:
        raise DecodeError(f"AMQP values nest deeper than {_MAX_DEPTH}")
    start = position + size_width
    end = start + int.from_bytes(_slice(data, position, start))
    count = int.from_bytes(_slice(data, start, start + size_width))
    if end > len(data) or count * least_item > end - start:
        raise DecodeError("compound AMQP value is longer than its bytes")
    return count, start + size_width, end


def _list(size_width: int) -> Decoder:
    def decoder(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        count, position, end = _compound(data, position, size_width, depth, 1)
        items = []
        for _ in range(count):
            item, position = _decode(data, position, depth + 1)
            items.append(item)
        return items, _at(position, end)

    return decoder


def _map(size_width: int) -> Decoder:
    def decoder(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        count, position, end = _compound(data, position, size_width, depth, 1)
        if count % 2:
            raise DecodeError("AMQP map with a key that has no value")
        entries = {}
        for _ in range(count // 2):
            key, position = _decode(data, position, depth + 1)
            entries[key], position = _decode(data, position, depth + 1)
        return entries, _at(position, end)

    return decoder


def _array(size_width: int) -> Decoder:
    def decoder(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        count, position, end = _compound(data, position, size_width, depth, 0)
        if position == end and count == 0:
            return [], end
        descriptors = []
        while data[position] == 0:
            descriptor, position = _decode(data, position + 1, depth + 1)
            descriptors.append(descriptor)
        item_decoder = _DECODERS[data[position]]
        if item_decoder is None:
            raise DecodeError(f"unknown AMQP constructor 0x{data[position]:02x}")
        position += 1
        if count > max(end - position, _MAX_EMPTY_ELEMENTS):
            raise DecodeError("AMQP array with more elements than bytes")
        items = []
        for _ in range(count):
            item, position = item_decoder(data, position, depth + 1)
            for descriptor in reversed(descriptors):
                item = Described(descriptor, item)
            items.append(item)
        return items, _at(position, end)

    return decoder


def _at(position: int, end: int) -> int:
    if position != end:
        raise DecodeError("compound AMQP value does not end where its size says")
    return end


def _described(data: bytes, position: int, depth: int) -> tuple[Any, int]:
    if depth > _MAX_DEPTH:
        raise DecodeError(f"AMQP values nest deeper than {_MAX_DEPTH}")
    descriptor, position = _decode(data, position, depth + 1)
    value, position = _decode(data, position, depth + 1)
    return Described(descriptor, value), position


def _text(data: bytes) -> str:
    return data.decode()


def _symbol(data: bytes) -> Symbol:
    return Symbol(data.decode("ascii"))


def _boolean(data: bytes) -> bool:
    if data not in (b"\x00", b"\x01"):
        raise DecodeError("AMQP boolean that is neither 0 nor 1")
    return data == b"\x01"


_FIXED_WIDTH = {4: 0, 5: 1, 6: 2, 7: 4, 8: 8, 9: 16}
_DECODERS: list[Decoder | None] = [None] * 256
for _code, _decoder in {
    0x00: _described,
    0x40: _constant(None),
    0x41: _constant(True),
    0x42: _constant(False),
    0x43: _constant(0),
    0x44: _constant(0),
    0x45: lambda _data, position, _depth: ([], position),
    0x50: _fixed(">B", 1),
    0x51: _fixed(">b", 1),
    0x52: _fixed(">B", 1),
    0x53: _fixed(">B", 1),
    0x54: _fixed(">b", 1),
    0x55: _fixed(">b", 1),
    0x56: _raw(1, _boolean),
    0x60: _fixed(">H", 2),
    0x61: _fixed(">h", 2),
    0x70: _fixed(">I", 4),
    0x71: _fixed(">i", 4),
    0x72: _fixed(">f", 4),
    0x73: _fixed(">I", 4, chr),
    0x74: _raw(4, bytes),
    0x80: _fixed(">Q", 8),
    0x81: _fixed(">q", 8),
    0x82: _fixed(">d", 8),
    0x83: _fixed(">q", 8, Timestamp),
    0x84: _raw(8, bytes),
    0x94: _raw(16, bytes),
    0x98: _raw(16, lambda raw: uuid.UUID(bytes=raw)),
    0xA0: _variable(1, bytes),
    0xA1: _variable(1, _text),
    0xA3: _variable(1, _symbol),
    0xB0: _variable(4, bytes),
    0xB1: _variable(4, _text),
    0xB3: _variable(4, _symbol),
    0xC0: _list(1),
    0xC1: _map(1),
    0xD0: _list(4),
    0xD1: _map(4),
    0xE0: _array(1),
    0xF0: _array(4),
}.items():
    _DECODERS[_code] = _decoder


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
