"""The local host with a clock that jumps and storage that fails: `python soak_host.py --app DIR ...`.

What is wrong just now stands in the JSON file that `SOAK_WEATHER` names, which the soak rewrites:

- ``clock_s``: by how much the whole process's clock is off, for the hub, the broker and the timers;
- ``busy``: the share of what clients ask of the broker or, over gRPC, of the hub that is refused;
- ``slow_s``: up to how long each write of the broker's and the hub's journals takes, before it is done or
  between that and its acknowledgement: of a send, a settlement, a call of a client, a finished work item;
- ``failing``: the share of the hub's writes that fail, with or without having been made.

Where it listens it writes into the JSON file that `SOAK_PORTS` names, and how many messages its broker
holds, again and again, into that of `SOAK_LEFT`. Functions reach the hub's gRPC through the port that
`SOAK_RPC_PORT` names.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import random
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import grpc

import aos.local.host.run
import aos.local.host.web
import aos.local.servicebus.broker
import aos.local.servicebus.clock
import aos.local.servicebus.journal
import aos.local.taskhub.clock
import aos.local.taskhub.journal
import aos.local.taskhub.server
from aos.local.host.__main__ import main
from aos.local.servicebus.errors import ServerBusyError
from aos.local.taskhub.errors import HubError

_LOOK_S = 0.05
_TELL_S = 0.2
_OF_WORKERS = ("complete_", "abandon_")


class Weather:
    """The faults of now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looked = 0.0
        self._now: dict[str, Any] = {}
        self._chance = random.Random()

    def __getitem__(self, name: str) -> float:
        if time.monotonic() - self._looked > _LOOK_S:
            self._looked = time.monotonic()
            self._now = json.loads(self._path.read_text())
        return float(self._now[name])

    def strikes(self, name: str) -> bool:
        """Whether the fault of which this is the share happens this time."""
        return self._chance.random() < self[name]

    def toss(self) -> bool:
        return self._chance.random() < 0.5

    def delays_s(self) -> tuple[float, float]:
        """How long a slow disk takes before a write, and after it: one of the two."""
        seconds = self._chance.random() * self["slow_s"]
        return (seconds, 0.0) if self.toss() else (0.0, seconds)


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
        before_s, after_s = weather.delays_s()
        time.sleep(before_s)
        try:
            return original(*args, **kwargs)
        finally:
            time.sleep(after_s)

    setattr(owner, method, slowly)


def refuse_some_messages() -> None:
    """What is submitted may be refused, as when the disk is busy; what is recorded cannot be."""
    journal = aos.local.servicebus.journal.Journal
    original = journal._commit

    def commit(self: Any, group: Any) -> Any:
        if any(not each.recorded for each in group) and weather.strikes("busy"):
            return ServerBusyError("the soak refuses this write")
        return original(self, group)

    journal._commit = commit


def refuse_some_calls() -> None:
    """What clients ask of the hub over gRPC may be refused; workers do not bring a result twice."""
    server = aos.local.taskhub.server
    original = server._answering

    def answering(call: Callable[[Any], Awaitable[Any]]) -> Any:
        async def or_refused(request: Any) -> Any:
            if weather.strikes("busy"):
                raise HubError(grpc.StatusCode.UNAVAILABLE, "the soak refuses this call")
            return await call(request)

        return original(call if call.__name__.startswith(_OF_WORKERS) else or_refused)

    server._answering = answering


def fail_some_writes() -> None:
    """The hub may learn that a write failed, when it did and when it did not."""
    journal = aos.local.taskhub.journal.Journal
    original = journal._write

    def write(self: Any, group: Any) -> None:
        fails = weather.strikes("failing")
        made = not fails or weather.toss()
        if made:
            original(self, group)
        if fails:
            raise sqlite3.OperationalError(f"the soak fails this write, {'made' if made else 'not made'}")

    journal._write = write


def write_whole(path: Path, value: dict[str, int]) -> None:
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(value))
    scratch.replace(path)


def tell(name: str, port: int) -> None:
    """Write down where the host listens for one kind of connection."""
    path = Path(os.environ["SOAK_PORTS"])
    write_whole(path, {**(json.loads(path.read_text()) if path.exists() else {}), name: port})


async def tell_messages(broker: Any) -> None:
    """Write down how many messages each entity holds, for as long as the broker is there."""
    entities = broker.namespace._queues | broker.namespace._topics
    while True:
        counts = {name: entity.message_count for name, entity in entities.items()}
        write_whole(Path(os.environ["SOAK_LEFT"]), counts)
        await asyncio.sleep(_TELL_S)


def tell_ports() -> None:
    broker, front = aos.local.servicebus.broker.Broker, aos.local.host.web.FrontEnd
    server = aos.local.taskhub.server.Server
    serve, start, init = broker.serve, front.start, server.__init__

    async def serve_and_tell(self: Any, *args: Any, **kwargs: Any) -> None:
        await serve(self, *args, **kwargs)
        tell("bus", self.port)
        self.telling = asyncio.create_task(tell_messages(self))

    async def start_and_tell(self: Any, sock: Any) -> None:
        await start(self, sock)
        tell("http", sock.getsockname()[1])

    def init_and_tell(self: Any, *args: Any) -> None:
        init(self, *args)
        tell("rpc", self.port)
        self.port = int(os.environ["SOAK_RPC_PORT"])

    broker.serve, front.start, server.__init__ = serve_and_tell, start_and_tell, init_and_tell


if __name__ == "__main__":
    set_clocks()
    tell_ports()
    refuse_some_messages()
    refuse_some_calls()
    fail_some_writes()
    slow_down(aos.local.servicebus.journal.Journal, "_commit")
    slow_down(aos.local.taskhub.journal.Journal, "_write")
    sys.exit(main())
