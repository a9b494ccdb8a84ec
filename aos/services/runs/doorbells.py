"""Doorbells that must not be lost: each is a row until somebody has answered it.

An event raised to an orchestration tells it to look at the rows. The event may be lost (the instance
is not there yet) or may come twice; the row makes a sweep ring again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aos.services.environment.clock import Clock
from aos.services.storage.ports import Rows

TABLE = "doorbells"
_PENDING = "pending"


class Orchestrations(Protocol):
    """What the rest of AOS asks of the durable engine."""

    async def start(self, run: str) -> None:
        """Start the run's orchestration; starting it again is a no-op."""
        ...

    async def raise_event(self, instance: str, name: str, data: Mapping[str, Any]) -> None:
        """Raise an event to an orchestration; one that is not there loses it."""
        ...


@dataclass(frozen=True, slots=True)
class Doorbell:
    """Somebody should look: ``kind`` is start, approval, resolution or cancel."""

    run: str
    kind: str
    step: str | None
    at: float

    @property
    def key(self) -> str:
        """The row's key: one doorbell for one thing."""
        return f"{self.run}.{self.kind}" + (f".{self.step}" if self.step else "")


class Doorbells:
    """Rings, and remembers what was not answered yet."""

    def __init__(self, rows: Rows, orchestrations: Orchestrations, clock: Clock) -> None:
        self._rows = rows
        self._orchestrations = orchestrations
        self._clock = clock

    async def remember(self, run: str, kind: str, step: str | None = None) -> Doorbell:
        """Write the doorbell down; ``ring`` it after the row that it speaks of is written."""
        bell = Doorbell(run, kind, step, self._clock())
        value = {"run": run, "kind": kind, "step": step, "at": bell.at}
        await self._rows.upsert(TABLE, _PENDING, bell.key, value)
        return bell

    async def ring(self, bell: Doorbell) -> None:
        """Start the orchestration, or raise the event to it."""
        if bell.kind == "start":
            await self._orchestrations.start(bell.run)
            return
        await self._orchestrations.raise_event(bell.run, "doorbell", {"kind": bell.kind, "step": bell.step})

    async def answered(self, run: str, kind: str, step: str | None = None) -> None:
        """Forget the doorbell: its row was read."""
        await self._rows.delete(TABLE, _PENDING, Doorbell(run, kind, step, 0.0).key)

    async def answered_all(self, run: str) -> None:
        """Forget every doorbell of a run that ended."""
        page = await self._rows.list(TABLE, _PENDING, prefix=f"{run}.", limit=1000)
        await asyncio.gather(*(self._rows.delete(TABLE, _PENDING, row.key) for row in page.rows))

    async def ring_again(self, older_than_s: float) -> int:
        """Ring every doorbell that nobody answered for that long; return how many there were."""
        before, after, rung = self._clock() - older_than_s, None, 0
        while True:
            page = await self._rows.list(TABLE, _PENDING, after=after)
            late = [Doorbell(**row.value) for row in page.rows if row.value["at"] <= before]
            await asyncio.gather(*(self.ring(bell) for bell in late))
            rung += len(late)
            after = page.next_key
            if after is None:
                return rung
