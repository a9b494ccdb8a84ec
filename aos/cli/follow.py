"""Following a run: its events say when to look, the run says what is to be seen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aos.kernel.errors import Unavailable

if TYPE_CHECKING:
    from aos.sdk.client import AosClient, RunEvent

ENDED = frozenset({"completed", "failed", "cancelled"})
_BETWEEN_LOOKS_S = 0.1
_RETRY_S = 0.5


def _ignore(_: RunEvent) -> None:
    """Nobody wants to see the events themselves."""


async def follow(
    client: AosClient,
    run_id: str,
    look: Callable[[dict[str, Any]], Awaitable[None]],
    on_event: Callable[[RunEvent], None] = _ignore,
) -> dict[str, Any]:
    """Look at the run whenever its log has grown; return it when it has ended.

    ``on_event`` is given every record of the log, in order, before this returns.

    Raises:
        Unavailable: AOS was silent for longer than the client's patience.
    """
    grew = asyncio.Event()

    async def listen() -> None:
        async for event in client.events(run_id):
            on_event(event)
            grew.set()

    listening = asyncio.create_task(listen())
    listening.add_done_callback(lambda _: grew.set())
    try:
        while True:
            await grew.wait()
            grew.clear()
            heard_all = listening.done()
            if heard_all:
                listening.result()
            run = await _look(client, run_id, heard_all=heard_all)
            if run is not None:
                await look(run)
                if run["status"] in ENDED:
                    await listening
                    return run
            if heard_all or run is None:
                grew.set()  # the log ends a moment before the run is marked as ended
            await asyncio.sleep(_BETWEEN_LOOKS_S if run is not None else _RETRY_S)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _look(client: AosClient, run_id: str, *, heard_all: bool) -> dict[str, Any] | None:
    """Return the run; None while AOS is away and the event stream still hopes for its return."""
    try:
        return await client.get_run(run_id)
    except Unavailable:
        if heard_all:
            raise
        return None
