"""The processes of a soak, the host and the consumer of sessions, and what goes wrong around them."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from soak_plan import Fault

HERE = Path(__file__).parent
PATIENCE_S = 60.0  # on a busy machine; nothing waits this long when it works
_SERVING = re.compile(r"serving .* at (http://\S+), ready")
_LEAD_S = 1.0
_SEEN_S = 0.2  # the host looks at the weather more often than this
_CALM = {"clock_s": 0.0, "busy": 0.0, "slow_s": 0.0, "drops": 0}


class HostEnded(Exception):
    """The host, which nobody asked to, has ended or does not serve."""


class SoakStack:
    """The host with its workers and a consumer of sessions, over one folder, through all their deaths."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.ledger = folder / "ledger.db"
        self.faults: Counter[str] = Counter()
        self._weather = dict[str, Any](_CALM)
        self._starts = 0
        self._port, bus_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self._port}"
        self.bus = (
            f"Endpoint=sb://127.0.0.1:{bus_port};SharedAccessKeyName=RootManageSharedAccessKey;"
            "SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;"
        )
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AOS_")},
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]),
            "SOAK_LEDGER": str(self.ledger),
            "SOAK_WEATHER": str(folder / "weather.json"),
            "SOAK_BUS_PORT": str(bus_port),
            "SOAK_BUS": self.bus,
        }
        folder.mkdir(parents=True, exist_ok=True)
        self._change()

    # -- processes

    def start(self) -> None:
        """Start both, without waiting."""
        self.start_host()
        self.start_consumer()

    def start_host(self) -> None:
        command = ["soak_host.py", "--app", str(HERE / "soak_app"), "--data", str(self.data)]
        command += ["--port", str(self._port), "--grace", "10"]
        self._starts += 1
        self._log = self.folder / f"host-{self._starts}.log"
        self.host = self._spawn(self._log, *command)

    def start_consumer(self) -> None:
        self.consumer = self._spawn(self.folder / "consumer.log", "soak_consumer.py")

    def _spawn(self, log: Path, script: str, *arguments: str) -> subprocess.Popen[bytes]:
        with log.open("ab") as file:
            return subprocess.Popen(
                [sys.executable, str(HERE / script), *arguments],
                stdout=file, stderr=file, stdin=subprocess.DEVNULL, cwd=HERE.parents[1], env=self._env,
            )  # fmt: skip

    async def serving(self) -> None:
        """Wait until the host serves; it may be killed and started again meanwhile."""
        deadline = time.monotonic() + PATIENCE_S
        while not _SERVING.search(self._log.read_text(errors="replace")):
            if self.host.poll() not in (None, -signal.SIGKILL):
                raise HostEnded(f"the host ended by itself: see {self._log}")
            if time.monotonic() > deadline:
                raise HostEnded(f"the host does not start: see {self._log}")
            await asyncio.sleep(0.05)

    def stop(self) -> int:
        """Have the host end in good order, and the consumer at once; the host's exit code."""
        self.consumer.kill()
        self.consumer.wait()
        self.host.send_signal(signal.SIGTERM)
        return self.host.wait(PATIENCE_S)

    def kill(self) -> None:
        """End whatever still runs."""
        for process in (self.host, self.consumer):
            process.kill()
            process.wait()

    def workers(self) -> list[int]:
        """The processes of the host's workers."""
        tasks = Path(f"/proc/{self.host.pid}/task").glob("*/children")
        return sorted(int(pid) for task in tasks for pid in task.read_text().split())

    # -- faults

    async def strike(self, fault: Fault, chance: random.Random) -> None:
        """Have a fault happen, and pass by."""
        await self.serving()  # what does not run yet has nothing to lose
        self.faults[fault.kind] += 1
        match fault.kind:
            case "kill host":
                async with self._spell("slow_s", fault.degree, _LEAD_S):
                    self._kill_host()
                if fault.seconds:
                    await asyncio.sleep(fault.seconds)
                    self._kill_host()
            case "kill worker":
                async with self._spell("slow_s", fault.degree, _LEAD_S):
                    if workers := self.workers():
                        os.kill(chance.choice(workers), signal.SIGKILL)
            case "kill consumer":
                self.consumer.kill()
                self.consumer.wait()
                self.start_consumer()
            case "drop connections":
                async with self._spell("slow_s", fault.degree, _LEAD_S):
                    self._change(drops=self._weather["drops"] + 1)
                    await asyncio.sleep(_SEEN_S)
            case "server busy":
                async with self._spell("busy", fault.degree, fault.seconds):
                    pass
            case "slow writes":
                async with self._spell("slow_s", fault.degree, fault.seconds):
                    pass
            case "clock forward" | "clock back":
                self._change(clock_s=fault.degree)

    def clear(self, clock_s: float) -> None:
        """No more faults; the clock stays off by so much, so that all that was waited for is due."""
        self._change(busy=0.0, slow_s=0.0, clock_s=clock_s)

    def _kill_host(self) -> None:
        self.host.kill()
        self.host.wait()
        self.start_host()

    @asynccontextmanager
    async def _spell(self, name: str, degree: float, seconds: float) -> AsyncIterator[None]:
        """Weather that has lasted for so long when the block begins, and ends with it."""
        self._change(**{name: degree})
        await asyncio.sleep(seconds)
        try:
            yield
        finally:
            self._change(**{name: 0.0})

    def _change(self, **changes: Any) -> None:
        self._weather |= changes
        scratch = self.folder / "weather.tmp"
        scratch.write_text(json.dumps(self._weather))
        scratch.replace(self.folder / "weather.json")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
