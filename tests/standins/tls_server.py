"""An ASGI app behind TLS on a loopback port, and what a client must trust to reach it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from aos.local.servicebus.certificate import server_context


@dataclass(frozen=True, slots=True)
class TlsServer:
    """A running server: its URL without a trailing slash, and the file that holds its certificate."""

    url: str
    certificate: Path

    @property
    def trust(self) -> ssl.SSLContext:
        """Trusts this server alone."""
        return ssl.create_default_context(cafile=str(self.certificate))


def listening() -> socket.socket:
    """A listener on a free port whose connections asyncio sets TCP_NODELAY on: it asks for the protocol.

    Without that each answer waits 40 ms for the other side's acknowledgement.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


@contextlib.asynccontextmanager
async def serving_tls(app: ASGIApp, folder: Path) -> AsyncIterator[TlsServer]:
    """Serve the app with a certificate made in ``folder``."""
    server_context(folder, "127.0.0.1")
    with listening() as listener:
        config = uvicorn.Config(
            app,
            log_level="critical",
            lifespan="off",
            timeout_graceful_shutdown=1,
            access_log=False,
            ssl_certfile=folder / "cert.pem",
            ssl_keyfile=str(folder / "key.pem"),
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        yield TlsServer(f"https://127.0.0.1:{listener.getsockname()[1]}", folder / "cert.pem")
        server.should_exit = True
        await task
