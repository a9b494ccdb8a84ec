"""A run's log as server-sent events, as it grows.

Nothing tells one process that another appended to a log, so its size is asked for: often while
something happens, less often while nothing does.
"""

from __future__ import annotations

import json
import logging
import time
from asyncio import sleep
from collections.abc import AsyncGenerator, Sequence

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from aos.kernel.errors import Unavailable
from aos.kernel.governance.audit.records import FactType, Record
from aos.services.audit.run_log import event_of
from aos.services.system import System

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
HEARTBEAT_S = 15.0
_HEARTBEAT = b": heartbeat\n\n"
_log = logging.getLogger(__name__)


class EventStream(StreamingResponse):
    """Streams, and stops as soon as the client goes away, whatever version of ASGI the server speaks.

    Starlette leaves it to servers of ASGI 2.4 to fail a ``send``; a quiet stream would notice that only
    at its next heartbeat.
    """

    media_type = "text/event-stream"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer (ASGI)."""
        version = {**scope.get("asgi", {}), "spec_version": "2.3"}
        await super().__call__({**scope, "asgi": version}, receive, send)


async def over(system: System, run: str, last: int | None) -> bool:
    """Whether the run has ended and ``last`` is its last record, so that nothing more will come."""
    if last is None or not (await system.runs.get(run)).ended:
        return False
    return not await system.log.read(run, after=last + 1)


async def follow(
    system: System, run: str, after: int, *, heartbeat_s: float = HEARTBEAT_S
) -> AsyncGenerator[bytes]:
    """Give the records from number ``after`` on as events, until ``run.ended``.

    That one is held back until the run's row says so too: whoever is told that a run ended may ask for
    its outcome and its dossier.
    """
    size, pause_s, said_at = -1, FIRST_PAUSE_S, time.monotonic()
    while True:
        try:
            grown = await system.log.size(run)
            records = await system.log.read(run, after) if grown != size else []
            ended = bool(records) and records[-1].leaf.type == FactType.RUN_ENDED
            if ended and not (await system.runs.get(run)).ended:
                records, ended, grown = records[:-1], False, -1
        except Unavailable as error:
            _log.warning("the events of run %s break off: %s", run, error)
            return  # the client comes back with the last id that it saw
        if records:
            yield _events(records)
            pause_s, said_at = FIRST_PAUSE_S, time.monotonic()
            after += len(records)
        if ended:
            return
        if time.monotonic() - said_at >= heartbeat_s:
            yield _HEARTBEAT
            said_at = time.monotonic()
        size = grown
        await sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S, heartbeat_s)


def _events(records: Sequence[Record]) -> bytes:
    return b"".join(map(_event, records))


def _event(record: Record) -> bytes:
    event = event_of(record)
    data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return f"id: {event['seq']}\nevent: {event['type']}\ndata: {data}\n\n".encode()
