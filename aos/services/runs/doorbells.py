"""Doorbells that must not be lost: each is a row until somebody has answered it.

An event raised to an orchestration tells it to look at the rows. The event may be lost (the instance
is not there yet) or may come twice; the row makes a sweep ring again.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from aos.kernel.errors import Conflict, InvalidInput, NotFound
from aos.services.environment.clock import Clock
from aos.services.storage import layout
from aos.services.storage.ports import Rows

TABLE = layout.DOORBELLS
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
    key: str
    """The row's key, of its own for each caller: one who is refused takes back only what they wrote."""


class Doorbells:
    """Rings, and remembers what was not answered yet."""

    def __init__(self, rows: Rows, orchestrations: Orchestrations, clock: Clock) -> None:
        self._rows = rows
        self._orchestrations = orchestrations
        self._clock = clock

    async def remember(self, run: str, kind: str, step: str | None = None) -> Doorbell:
        """Write the doorbell down, before the row that it speaks of is written; ``ring`` it after that."""
        key = _prefix(run, kind, step) + secrets.token_hex(8)
        bell = Doorbell(run, kind, step, self._clock(), key)
        await self._rows.insert(TABLE, _PENDING, key, asdict(bell))
        return bell

    @contextlib.asynccontextmanager
    async def around(self, run: str, kind: str, step: str | None = None) -> AsyncIterator[None]:
        """Ring after the body has written its row; a body that refuses to leaves nothing behind."""
        bell = await self.remember(run, kind, step)
        try:
            yield
        except (Conflict, InvalidInput, NotFound):
            await self._rows.delete(TABLE, _PENDING, bell.key)
            raise
        await self.ring(bell)

    async def ring(self, bell: Doorbell) -> None:
        """Start the orchestration, or raise the event to it."""
        if bell.kind == "start":
            await self._orchestrations.start(bell.run)
            return
        await self._orchestrations.raise_event(bell.run, "doorbell", {"kind": bell.kind, "step": bell.step})

    async def answered(self, run: str, kind: str, step: str | None = None) -> None:
        """Forget the doorbells for this thing: its row was read."""
        await self._forget(_prefix(run, kind, step))

    async def answered_all(self, run: str) -> None:
        """Forget every doorbell of a run that ended."""
        await self._forget(f"{run}.")

    async def _forget(self, prefix: str) -> None:
        page = await self._rows.list(TABLE, _PENDING, prefix=prefix, limit=1000)
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


def _prefix(run: str, kind: str, step: str | None) -> str:
    return f"{run}.{kind}." + (f"{step}." if step else "")
