"""AMQP 1.0 values from bytes (OASIS amqp-core-types).

Decoding gives plain Python values; `Symbol`, `Timestamp` and `Described` keep what those would lose.
"""

import struct
import uuid
from collections.abc import Callable
from typing import Any

from aos.local.servicebus.amqp_types import Described, Symbol, Timestamp
from aos.local.servicebus.errors import DecodeError

_MAX_DEPTH = 32
_MAX_EMPTY_ELEMENTS = 4096

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
