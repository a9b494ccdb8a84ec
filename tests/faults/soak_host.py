"""The local host with a clock that jumps and a broker that fails: `python soak_host.py --app DIR ...`.

What is wrong just now stands in the JSON file that `SOAK_WEATHER` names, which the soak rewrites:

- ``clock_s``: by how much the whole process's clock is off, for the hub, the broker and the timers;
- ``busy``: the share of what clients ask the broker to write that is refused as `server-busy`;
- ``slow_s``: up to how long each write of the broker's and the hub's journals takes, which delays every
  acknowledgement that waits for it;
- ``drops``: how often the broker's connections were dropped so far; when it grows they are dropped again.

The broker listens at the port that `SOAK_BUS_PORT` names, so that clients find it after a restart.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import random
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import aos.local.host.run
import aos.local.servicebus.broker
import aos.local.servicebus.clock
import aos.local.servicebus.journal
import aos.local.taskhub.clock
import aos.local.taskhub.journal
from aos.local.host.__main__ import main
from aos.local.servicebus.errors import ServerBusyError

_LOOK_S = 0.05


class Weather:
    """The faults of now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looked = 0.0
        self._now: dict[str, Any] = {}
        self.chance = random.Random(time.time_ns())

    def __getitem__(self, name: str) -> Any:
        if time.monotonic() - self._looked > _LOOK_S:
            self._looked = time.monotonic()
            self._now = json.loads(self._path.read_text())
        return self._now[name]

    def dawdle(self) -> None:
        """Take as long as a slow disk."""
        if self["slow_s"]:
            time.sleep(self.chance.random() * self["slow_s"])


weather = Weather(Path(os.environ["SOAK_WEATHER"]))


class JumpingDatetime(datetime):
    """`datetime` as the process's clock has it."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + timedelta(seconds=weather["clock_s"])


def jumping(original: Callable[[Any], int], per_second: int) -> Callable[[Any], int]:
    """The time that a clock tells, as far off as the process's."""

    def now(self: Any) -> int:
        return original(self) + round(weather["clock_s"] * per_second)

    return now


def set_clocks() -> None:
    hub, broker = aos.local.taskhub.clock.SystemClock, aos.local.servicebus.clock.SystemClock
    hub.now = jumping(hub.now, 1000000)
    broker.now_ms = jumping(broker.now_ms, 1000)
    for name, module in list(sys.modules.items()):
        if name.startswith("aos.local.") and getattr(module, "datetime", None) is datetime:
            module.datetime = JumpingDatetime


def slow_down(owner: Any, method: str) -> None:
    original = getattr(owner, method)

    @functools.wraps(original)
    def slowly(*args: Any, **kwargs: Any) -> Any:
        weather.dawdle()
        return original(*args, **kwargs)

    setattr(owner, method, slowly)


def refuse_some_writes() -> None:
    """What is submitted may be refused, as when the disk is busy; what is recorded cannot be."""
    journal = aos.local.servicebus.journal.Journal
    original = journal._commit

    def commit(self: Any, group: Any) -> Any:
        if any(not each.recorded for each in group) and weather.chance.random() < weather["busy"]:
            return ServerBusyError("the soak refuses this write")
        return original(self, group)

    journal._commit = commit


def serve_at_a_fixed_port() -> None:
    broker = aos.local.servicebus.broker.Broker
    original = broker.serve

    async def serve(self: Any, host: str = "127.0.0.1", port: int = 0) -> None:
        await original(self, host, int(os.environ["SOAK_BUS_PORT"]))
        self.dropping = asyncio.create_task(drop_connections(self))

    broker.serve = serve


async def drop_connections(broker: Any) -> None:
    """Hang up on every client, without a word, whenever the weather asks for it once more."""
    dropped = weather["drops"]
    while True:
        await asyncio.sleep(_LOOK_S)
        if weather["drops"] > dropped:
            dropped = weather["drops"]
            for connection in list(broker.connections):
                if connection._transport is not None:
                    connection._transport.abort()


if __name__ == "__main__":
    set_clocks()
    refuse_some_writes()
    slow_down(aos.local.servicebus.journal.Journal, "_commit")
    slow_down(aos.local.taskhub.journal.Journal, "_write")
    serve_at_a_fixed_port()
    sys.exit(main())
