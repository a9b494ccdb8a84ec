"""A proxy that loses answers: the request arrives and is acted on, but who sent it never hears."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

BUSY = b"HTTP/1.1 503 Busy\r\nx-ms-error-code: ServerBusy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class LossyProxy:
    """Passes bytes to a port of this machine and back, but for what the test told it to lose."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.answers_to_lose = 0
        self.busy = False
        self.on_loss: Callable[[], Awaitable[object]] | None = None

    async def __aenter__(self) -> LossyProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._target_port)
        answers = asyncio.create_task(self._answers(upstream_reader, writer))
        try:
            while data := await reader.read(65536):
                if self.busy:
                    writer.write(BUSY)
                    await writer.drain()
                    break
                upstream.write(data)
                await upstream.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            answers.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await answers
            writer.close()
            upstream.close()

    async def _answers(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await upstream.read(65536):
                if self.answers_to_lose:
                    self.answers_to_lose -= 1
                    if self.on_loss is not None:
                        await self.on_loss()
                    break
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
