"""The processes of a soak, the host and the consumer of sessions, and what goes wrong around them."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from soak_plan import Fault
from soak_wires import Wire

HERE = Path(__file__).parent
PATIENCE_S = 120.0  # on a busy machine; nothing waits this long when it works
WORKERS = 2
_SERVING = re.compile(r"serving .* at http://\S+, ready")
_SIGNS_OF_FAULTS = ("Exception in callback", "was never retrieved", "Unhandled exception", "host failed:")
_LEAD_S = 1.0
_WIRES = ("http", "bus", "rpc")
_CALM = {"clock_s": 0.0, "busy": 0.0, "slow_s": 0.0, "failing": 0.0}


class HostEnded(Exception):
    """The host does not serve, or has ended and was not asked to, or was and did not."""


class SoakStack:
    """The host with its workers, a consumer of messages and a worker outside, through all their deaths.

    Clients reach the host's HTTP, its broker, and functions its hub, over wires that can be dropped.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder = folder.resolve()
        self.data = folder / "data"
        self.ledger = folder / "ledger.db"
        self.faults: Counter[str] = Counter()
        self._weather = dict(_CALM)
        self._starts = 0
        self._ports, self._left = folder / "ports.json", folder / "left.json"
        self._wires = {name: Wire(functools.partial(self._port_of, name)) for name in _WIRES}

    async def open(self) -> None:
        """Make the folder and the wires."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._change()
        for wire in self._wires.values():
            await wire.open()
        self.url = f"http://127.0.0.1:{self._wires['http'].port}"
        self.bus = (
            f"Endpoint=sb://127.0.0.1:{self._wires['bus'].port};"
            "SharedAccessKeyName=RootManageSharedAccessKey;"
            "SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;"
        )
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AOS_")},
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]),
            "SOAK_LEDGER": str(self.ledger),
            "SOAK_EFFECTS": str(self.folder / "effects"),
            "SOAK_WEATHER": str(self.folder / "weather.json"),
            "SOAK_PORTS": str(self._ports),
            "SOAK_LEFT": str(self._left),
            "SOAK_RPC_PORT": str(self._wires["rpc"].port),
            "SOAK_BUS": self.bus,
        }

    async def close(self) -> None:
        """End whatever still runs, and take the wires away."""
        for process in (self.host, self.consumer, self.outsider):
            process.kill()
            process.wait()
        for wire in self._wires.values():
            await wire.close()

    def messages_left(self) -> list[str]:
        """What the broker of the host that serves has not settled yet, dead letters apart."""
        try:
            left: dict[str, int] = json.loads(self._left.read_text())
        except FileNotFoundError:
            return ["the broker"]
        dead = "$deadletterqueue"
        return [f"{n} messages of {name}" for name, n in left.items() if n and not name.endswith(dead)]

    def _port_of(self, name: str) -> int:
        """Where the host listens just now; ConnectionRefusedError if it does not."""
        try:
            return int(json.loads(self._ports.read_text())[name])
        except (FileNotFoundError, KeyError) as error:
            raise ConnectionRefusedError(name) from error

    # -- processes

    def start(self) -> None:
        """Start all, without waiting."""
        self.start_host()
        self.start_consumer()
        self.start_outsider()

    def start_host(self) -> None:
        command = ["soak_host.py", "--app", str(HERE / "soak_app"), "--data", str(self.data)]
        command += ["--port", "0", "--grace", "10", "--workers", str(WORKERS)]
        for told in (self._ports, self._left):
            told.unlink(missing_ok=True)
        self._starts += 1
        self._log = self.folder / f"host-{self._starts}.log"
        self.host = self._spawn(self._log, *command)

    def start_consumer(self) -> None:
        self.consumer = self._spawn(self.folder / "consumer.log", "soak_consumer.py")

    def start_outsider(self) -> None:
        self.outsider = self._spawn(self.folder / "outsider.log", "soak_worker.py")

    def _spawn(self, log: Path, script: str, *arguments: str) -> subprocess.Popen[bytes]:
        with log.open("ab") as file:
            return subprocess.Popen(
                [sys.executable, str(HERE / script), *arguments],
                stdout=file, stderr=file, stdin=subprocess.DEVNULL, cwd=HERE.parents[1], env=self._env,
            )  # fmt: skip

    async def serving(self) -> None:
        """Wait until the host serves; it may be killed and started again meanwhile."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            if self.host.poll() not in (None, -signal.SIGKILL):
                raise HostEnded(f"the host ended by itself: see {self._log}")
            if _SERVING.search(self._log.read_text(errors="replace")):
                return
            if time.monotonic() > deadline:
                raise HostEnded(f"the host does not start: see {self._log}")
            await asyncio.sleep(0.05)

    def faults_of_its_own(self) -> list[str]:
        """Lines of the hosts that tell of errors which nobody dealt with."""
        return [
            f"{log.name}: {line}"
            for log in sorted(self.folder.glob("host-*.log"))
            for line in log.read_text(errors="replace").splitlines()
            if any(sign in line for sign in _SIGNS_OF_FAULTS)
        ]

    def stop(self) -> int:
        """Have the host end in good order; its exit code."""
        self.host.send_signal(signal.SIGTERM)
        try:
            return self.host.wait(PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            raise HostEnded(f"the host does not end: see {self._log}") from error

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
                    self._kill_worker(chance)
                if fault.seconds:
                    await asyncio.sleep(fault.seconds)
                    self._kill_worker(chance)
            case "kill consumer":
                self.consumer.kill()
                self.consumer.wait()
                self.start_consumer()
            case "kill outsider":
                async with self._spell("slow_s", fault.degree, _LEAD_S):
                    self.outsider.kill()
                    self.outsider.wait()
                self.start_outsider()
            case "drop connections":
                async with self._late_answers(fault.degree, _LEAD_S):
                    for name in chance.sample(_WIRES, chance.randint(1, len(_WIRES))):
                        self._wires[name].drop()
            case "late answers":
                async with self._late_answers(fault.degree, fault.seconds):
                    pass
            case "server busy":
                async with self._spell("busy", fault.degree, fault.seconds):
                    pass
            case "slow writes":
                async with self._spell("slow_s", fault.degree, fault.seconds):
                    pass
            case "failed writes":
                async with self._spell("failing", fault.degree, fault.seconds):
                    pass
            case "clock forward" | "clock back":
                self._change(clock_s=fault.degree)

    def clear(self, clock_s: float) -> None:
        """No more faults; the clock stays off by so much, so that all that was waited for is due."""
        self._change(**{**_CALM, "clock_s": clock_s})

    def _kill_host(self) -> None:
        self.host.kill()
        self.host.wait()
        self.start_host()

    def _kill_worker(self, chance: random.Random) -> None:
        if workers := self.workers():
            os.kill(chance.choice(workers), signal.SIGKILL)

    @asynccontextmanager
    async def _spell(self, name: str, degree: float, seconds: float) -> AsyncIterator[None]:
        """Weather that has lasted for so long when the block begins, and ends with it."""
        self._change(**{name: degree})
        await asyncio.sleep(seconds)
        try:
            yield
        finally:
            self._change(**{name: 0.0})

    @asynccontextmanager
    async def _late_answers(self, degree: float, seconds: float) -> AsyncIterator[None]:
        """Answers that have been late, and acknowledgements slow, for so long when the block begins."""
        for wire in self._wires.values():
            wire.late_s = degree
        try:
            async with self._spell("slow_s", degree, seconds):
                yield
        finally:
            for wire in self._wires.values():
                wire.late_s = 0.0

    def _change(self, **changes: float) -> None:
        self._weather |= changes
        scratch = self.folder / "weather.tmp"
        scratch.write_text(json.dumps(self._weather))
        scratch.replace(self.folder / "weather.json")
