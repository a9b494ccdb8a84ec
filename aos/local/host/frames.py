"""The framed protocol between host and worker: many invocations over two sockets.

One socket is the worker's event loop's. The other, the lane, is for functions that run on threads: those
read and answer it themselves. A frame is a header (`!IBI`: length of the payload, kind, stream) and a
payload. An invocation is one stream, numbered by the host. Stream 0 carries what belongs to no invocation.
Payloads are raw bytes (`BODY`), JSON, or JSON followed by raw bytes (`pack`): nothing that could run code.
"""

import asyncio
import enum
import json
import struct
from collections.abc import Callable
from typing import Any, cast

_HEADER = struct.Struct("!IBI")
_LENGTH = struct.Struct("!I")

WINDOW = 256 * 1024
"""Bytes of body that may be under way in one direction of a stream before the reader grants more."""


class Kind(enum.IntEnum):
    """What a frame means; the arrow says who sends it."""

    HELLO = 1  # host -> worker: JSON, how to load the app
    READY = 2  # worker -> host: JSON, the functions that were indexed
    REFUSED = 3  # worker -> host: JSON, why the app cannot be loaded
    INVOKE = 4  # host -> worker: JSON and the trigger's data
    REQUEST = 5  # host -> worker: JSON, an HTTP request's line and headers
    RESULT = 6  # worker -> host: JSON and the returned data; closes the stream
    HEAD = 7  # worker -> host: JSON, an HTTP response's status and headers
    BODY = 8  # both ways: a piece of an HTTP body
    END = 9  # both ways: no more body
    CREDIT = 10  # both ways: that many more bytes may be sent
    DISCONNECT = 11  # host -> worker: the HTTP client went away
    CANCEL = 12  # host -> worker: the invocation took too long
    LOG = 13  # worker -> host: JSON, one log record
    STOP = 14  # host -> worker: end the process
    PING = 15  # host -> worker: answer at once
    PONG = 16  # worker -> host: the answer
    OUTPUT = 17  # worker -> host: JSON and bodies, the messages for output bindings
    SENT = 18  # host -> worker: JSON, they are sent, or why not
    TURN = 19  # host -> worker: JSON and the encoded request of a turn or a batch of operations


# Made once: `json.dumps` with arguments of its own makes an encoder for each call.
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().decode


def pack(head: dict[str, Any], *body: bytes) -> bytes:
    """JSON and raw bytes, in pieces or as one, in one payload."""
    encoded = _encode(head).encode()
    return b"".join((_LENGTH.pack(len(encoded)), encoded, *body))


def unpack(payload: bytes) -> tuple[dict[str, Any], bytes]:
    """The inverse of `pack`."""
    (length,) = _LENGTH.unpack_from(payload)
    end = _LENGTH.size + length
    return cast("dict[str, Any]", _decode(payload[_LENGTH.size : end].decode())), payload[end:]


def frame(kind: Kind, stream: int, payload: bytes = b"") -> bytes:
    """One frame, as it is sent."""
    return _HEADER.pack(len(payload), kind, stream) + payload


class Cutter:
    """Cuts complete frames off a stream of bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[Kind, int, bytes]]:
        """Kind, stream and payload of each frame that these bytes complete."""
        buffer, frames, start = self._buffer, [], 0
        buffer += data
        while len(buffer) - start >= _HEADER.size:
            length, kind, stream = _HEADER.unpack_from(buffer, start)
            end = start + _HEADER.size + length
            if len(buffer) < end:
                break
            frames.append((Kind(kind), stream, bytes(memoryview(buffer)[start + _HEADER.size : end])))
            start = end
        if start:
            del buffer[:start]
        return frames


class Channel(asyncio.Protocol):
    """One end of the socket: calls `on_frame(kind, stream, payload)` and `on_lost()`."""

    def __init__(self, on_frame: Callable[[Kind, int, bytes], None], on_lost: Callable[[], None]) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._cutter = Cutter()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to write on."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other process closed its end or died."""
        self._transport = None
        self._on_lost()

    def data_received(self, data: bytes) -> None:
        """Pass complete frames on."""
        for kind, stream, payload in self._cutter.feed(data):
            self._on_frame(kind, stream, payload)

    def send(self, kind: Kind, stream: int, payload: bytes = b"") -> None:
        """Write one frame. After the connection was lost it goes nowhere; `on_lost` has said so."""
        if self._transport is not None:
            self._transport.write(frame(kind, stream, payload))

    def close(self) -> None:
        """Close this end."""
        if self._transport is not None:
            self._transport.close()


class Window:
    """Flow control of one direction of a stream: `take` waits until the reader has granted enough."""

    def __init__(self) -> None:
        self._left = WINDOW
        self._granted = asyncio.Event()
        self._open = True

    async def take(self, size: int) -> bool:
        """Wait for credit; false when the stream was closed meanwhile. May overdraw by one piece."""
        while self._open and self._left <= 0:
            self._granted.clear()
            await self._granted.wait()
        self._left -= size
        return self._open

    def grant(self, size: int) -> None:
        """The reader consumed `size` bytes."""
        self._left += size
        self._granted.set()

    def close(self) -> None:
        """Wake the writer: nobody reads any more."""
        self._open = False
        self._granted.set()


def credit(size: int) -> bytes:
    """The payload of a `CREDIT` frame."""
    return _LENGTH.pack(size)


def credited(payload: bytes) -> int:
    """The inverse of `credit`."""
    (size,) = _LENGTH.unpack(payload)
    return int(size)
