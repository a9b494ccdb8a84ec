"""HTTP on the broker's port: AMQP over WebSockets, and a clear answer to everything else."""

from typing import TYPE_CHECKING

from aiohttp import web

from aos.local.servicebus import websocket

if TYPE_CHECKING:
    import asyncio

    from aos.local.servicebus.broker import Broker

_REFUSAL = (
    "<Error><Code>501</Code><Detail>This broker is not administered over HTTP: its queues, topics and"
    " subscriptions are those of its topology file.</Detail></Error>"
)


class Door:
    """Serves the connections that turn out to speak HTTP."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._server = web.Server(self._answer, access_log=None)

    def let_in(self, transport: "asyncio.Transport", data: bytes) -> None:
        """Take over a connection that has sent `data` so far."""
        protocol = self._server()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)

    async def close(self) -> None:
        """Hang up."""
        await self._server.shutdown(timeout=1)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == websocket.PATH:
            return await websocket.serve(self._broker, request)
        return web.Response(status=501, text=_REFUSAL, content_type="application/xml")
