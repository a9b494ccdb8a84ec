"""Invocations under way: what their lines will say, and how long each may take."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from aos.local.host.calls import Call, Failure
from aos.local.host.console import Console
from aos.local.host.process import WorkerProcess

LOST = Failure("WorkerLost", "the worker process ended")


@dataclass(slots=True, eq=False)
class Run:
    """An invocation on a worker; `note` is what its line says besides its outcome."""

    kind: str
    name: str
    invocation_id: str
    note: str
    worker: WorkerProcess
    call: Call
    started: float = field(default_factory=time.monotonic)


class UnderWay:
    """All that run now. One that has run for `limit_s` seconds is given to `expired`, if there is a limit."""

    def __init__(self, console: Console, limit_s: float | None, expired: Callable[[Run], None]) -> None:
        self._console = console
        self._limit_s = limit_s
        self._expired = expired
        self._in_time: dict[Run, None] = {}  # the oldest first, as all may take equally long
        self._late: set[Run] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._none = asyncio.Event()
        self._none.set()

    async def none(self) -> None:
        """Wait until none is under way."""
        await self._none.wait()

    def add(self, run: Run) -> None:
        """It has begun."""
        self._none.clear()
        self._in_time[run] = None
        if self._timer is None and self._limit_s is not None:
            self._timer = asyncio.get_running_loop().call_later(self._limit_s, self._look)

    def remove(self, run: Run, failure: Failure | None) -> None:
        """It has ended: write its line."""
        self._in_time.pop(run, None)
        self._late.discard(run)
        if not self._in_time and not self._late:
            self._none.set()
        self._console.invocation(
            run.kind,
            run.name,
            run.invocation_id,
            (time.monotonic() - run.started) * 1000,
            failure=(failure.line, failure.trace) if failure else None,
            note=run.note,
            worker=run.worker.number,
        )

    def _look(self) -> None:
        assert self._limit_s is not None, "there is no timer without a limit"
        self._timer = None
        while self._in_time:
            oldest = next(iter(self._in_time))
            left_s = oldest.started + self._limit_s - time.monotonic()
            if left_s > 0:
                self._timer = asyncio.get_running_loop().call_later(left_s, self._look)
                return
            del self._in_time[oldest]
            self._late.add(oldest)
            self._expired(oldest)


def new_invocation_id() -> str:
    """A random UUID, without asking the system for randomness each time: it need not be a secret."""
    h = f"{random.getrandbits(128):032x}"
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{'89ab'[int(h[16], 16) & 3]}{h[17:20]}-{h[20:]}"
