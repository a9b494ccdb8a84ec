"""The wires between a soak's clients and its host: answers come late on them, and they break.

A host that is started again listens at other ports. A wire keeps its port, and passes each connection on
to where the host listens just now.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

_PIECE = 64 * 1024


class Wire:
    """A port for clients. What the host answers takes up to `late_s` more, each piece of it.

    `far_port` says where the host listens, or raises ConnectionRefusedError.
    """

    def __init__(self, far_port: Callable[[], int]) -> None:
        self.late_s = 0.0
        self.port = 0
        self._far_port = far_port
        self._chance = random.Random()
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self._ends: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def drop(self) -> None:
        """Break every connection; answers that are still on their way are lost."""
        for end in self._ends:
            end.transport.abort()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.drop()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _pass_on(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        try:
            far, to_far = await asyncio.open_connection("127.0.0.1", self._far_port())
        except OSError:  # the host is down
            to_near.transport.abort()
            self._passing.discard(task)
            return
        self._ends |= {to_near, to_far}
        try:
            await asyncio.gather(self._ask(near, to_far), self._answer(far, to_near))
        except OSError:  # either has gone, or was dropped
            pass
        finally:
            for end in (to_near, to_far):
                end.transport.abort()
                self._ends.discard(end)
            self._passing.discard(task)

    async def _ask(self, near: asyncio.StreamReader, to_far: asyncio.StreamWriter) -> None:
        while piece := await near.read(_PIECE):
            to_far.write(piece)
            await to_far.drain()
        to_far.write_eof()

    async def _answer(self, far: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        while piece := await far.read(_PIECE):
            if self.late_s:
                await asyncio.sleep(self._chance.random() * self.late_s)
            to_near.write(piece)
            await to_near.drain()
        to_near.write_eof()
