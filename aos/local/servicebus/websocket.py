"""AMQP over WebSockets, for clients where only HTTP gets through: each message is a piece of the stream."""

import asyncio
from typing import TYPE_CHECKING, cast

from aiohttp import WSMsgType, web

from aos.local.servicebus.connection import Connection

if TYPE_CHECKING:
    from aos.local.servicebus.broker import Broker

PATH = "/$servicebus/websocket"
_SUBPROTOCOL = "AMQPWSB10"
_MOST_WAITING_BYTES = 64 * 1024
_LARGEST_MESSAGE = 4 * 1024 * 1024


class _Stream(asyncio.Transport):
    """What a connection writes to: a queue that is emptied into the WebSocket, one message at a time."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting_bytes = 0
        self._reading = asyncio.Event()
        self._reading.set()
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._pieces.put_nowait(bytes(data))
        self._waiting_bytes += len(data)
        if self._waiting_bytes > _MOST_WAITING_BYTES:
            self._connection.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self._waiting_bytes

    def pause_reading(self) -> None:
        self._reading.clear()

    def resume_reading(self) -> None:
        self._reading.set()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True
        self._pieces.put_nowait(None)

    def abort(self) -> None:
        self.close()

    async def empty_into(self, socket: web.WebSocketResponse) -> None:
        """Until the connection closes."""
        while (piece := await self._pieces.get()) is not None:
            await socket.send_bytes(piece)
            self._waiting_bytes -= len(piece)
            if self._waiting_bytes <= _MOST_WAITING_BYTES and not self._connection.writable:
                self._connection.resume_writing()
        await socket.close()

    async def readable(self) -> None:
        """Until the connection wants to hear more."""
        await self._reading.wait()


async def serve(broker: "Broker", request: web.BaseRequest) -> web.WebSocketResponse:
    """Take part in the stream until one of both sides closes it."""
    socket = web.WebSocketResponse(protocols=(_SUBPROTOCOL,), max_msg_size=_LARGEST_MESSAGE, compress=False)
    await socket.prepare(request)
    connection = Connection(broker)
    stream = _Stream(connection)
    connection.connection_made(cast("asyncio.BaseTransport", stream))
    writer = asyncio.create_task(stream.empty_into(socket))
    try:
        async for message in socket:
            if message.type is not WSMsgType.BINARY:
                break
            connection.data_received(message.data)
            await stream.readable()
    finally:
        connection.connection_lost(None)
        writer.cancel()
    return socket
