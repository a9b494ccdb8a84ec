"""AMQP 1.0 types (OASIS amqp-core-types) that keep what plain Python values would lose."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


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
