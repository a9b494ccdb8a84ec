"""AOS with the lab application, in processes of its own, and the target that its tools call."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx

from aos.kernel.errors import Unavailable
from aos.kernel.governance.audit.dossier import Verified, verify_dossier
from aos.sdk import AosClient
from aos.services.auth.keys import KeyStore
from aos.services.storage.local import open_local

HERE = Path(__file__).parent
PATIENCE_S = 60.0  # on a busy machine; nothing waits this long when it works
ENDED = ("completed", "failed", "cancelled")
_SERVING = re.compile(r"serving .* at (http://\S+), ready")
_PAUSE_S = 0.05

type Run = dict[str, Any]


class Target:
    """The target's process."""

    def __init__(self, folder: Path) -> None:
        port_file = folder / "target.port"
        self.process = subprocess.Popen([sys.executable, str(HERE / "target.py"), str(port_file)])
        deadline = time.monotonic() + PATIENCE_S
        while not port_file.exists():
            assert time.monotonic() < deadline, "the target did not start"
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{port_file.read_text()}"
        self._http = httpx.Client(base_url=self.url, timeout=PATIENCE_S, trust_env=False)

    def calls(self, run: str, tool: str | None = None) -> list[dict[str, Any]]:
        """The calls that tools of this run made, in their order."""
        calls: list[dict[str, Any]] = self._http.get(f"/calls/{run}").json()
        return [call for call in calls if tool in (None, call["tool"])]

    def effects(self, run: str) -> Counter[tuple[str, str]]:
        """How often each call had an effect, by tool and key."""
        return Counter((call["tool"], call["key"]) for call in self.calls(run) if call["effect"])

    def stop(self) -> None:
        self._http.close()
        self.process.terminate()
        self.process.wait()


class Stack:
    """A host and its worker over one data folder, through all their deaths."""

    def __init__(
        self,
        folder: Path,
        target: Target,
        *,
        app: Path = HERE / "app",
        application: str = "lab",
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.target = target
        self.data = folder / "data"
        self.points = folder / "failpoints"
        self.points.mkdir(parents=True)
        self.starts = 0
        self.port = 0
        self._app = app
        root = HERE.parents[1]
        # Whoever runs the tests may have settings of their own.
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AOS_")},
            "AOS_DATA": str(self.data / "aos"),
            "AOS_APPLICATION": application,
            "TASKHUB_NAME": "aos",
            "PYTHONPATH": os.pathsep.join([str(HERE), str(root)]),
            "LAB_FAILPOINTS": str(self.points),
            "LAB_TARGET": target.url,
            **(env or {}),
        }
        self.key = asyncio.run(self._make_key())
        self.launch()

    async def _make_key(self) -> str:
        async with open_local(self.data / "aos" / "storage") as storage:
            roles = ("operator", "approver", "viewer")
            key, _ = await KeyStore(storage.rows).create("tests", roles, "default")
            return key

    # -- processes

    def launch(self) -> None:
        """Start the host, again at the same port, and wait until it serves."""
        self.starts += 1
        self._log = self.folder / f"host-{self.starts}.log"
        command = [sys.executable, str(HERE / "failing_host.py"), "--app", str(self._app), "--grace", "1"]
        command += ["--port", str(self.port), "--data", str(self.data)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=HERE.parents[1], env=self._env
            )
        deadline = time.monotonic() + PATIENCE_S
        while (serving := _SERVING.search(self.log)) is None:
            assert self.process.poll() is None, f"the host ended:\n{self.log}"
            assert time.monotonic() < deadline, f"the host did not start:\n{self.log}"
            time.sleep(0.02)
        self.url = serving[1]
        self.port = int(self.url.rpartition(":")[2])

    @property
    def log(self) -> str:
        """What the host of now has written."""
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """As a crash of the machine would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_S)

    def died(self) -> None:
        """Wait until the host is dead, of which its client may learn first."""
        self.process.wait(PATIENCE_S)

    def revive(self) -> None:
        """Start the host again if it died."""
        if self.process.poll() is not None:
            self.launch()

    # -- failpoints

    def arm(self, point: str, do: str, *, passages: int = 1, times: int = 1) -> None:
        """Have ``do`` happen at that passage of a failpoint, and at so many in all."""
        scratch = self.points / f"{point}.tmp"
        scratch.write_text(json.dumps({"passages": passages, "times": times, "do": do}))
        (self.points / f"{point}.fired").unlink(missing_ok=True)
        scratch.rename(self.points / point)

    def fired(self, point: str) -> bool:
        return (self.points / f"{point}.fired").exists()

    def release(self) -> None:
        """Let what a failpoint holds go on."""
        (self.points / "release").touch()

    def disarm(self) -> None:
        for file in self.points.iterdir():
            file.unlink(missing_ok=True)

    # -- runs

    @asynccontextmanager
    async def client(self) -> AsyncIterator[AosClient]:
        async with AosClient(self.url, self.key) as client:
            yield client

    async def insist[T](self, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer, however often AOS dies while it is asked."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await ask()
            except Unavailable:
                assert time.monotonic() < deadline, f"AOS does not answer:\n{self.log}"
                self.revive()
                await asyncio.sleep(_PAUSE_S)

    async def until(self, client: AosClient, run: str, reached: Callable[[Run], Any], what: str) -> Run:
        """The run, once it has got there; a dead host is started again meanwhile."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self.revive()
            shown = await self.insist(lambda: client.get_run(run))
            if reached(shown):
                return shown
            assert time.monotonic() < deadline, f"run {run}: {what} was not reached: {shown}\n{self.log}"
            await asyncio.sleep(_PAUSE_S)

    async def ended(self, client: AosClient, run: str) -> Run:
        """The run, once it has ended."""
        return await self.until(client, run, lambda shown: shown["status"] in ENDED, "its end")

    async def parked(self, client: AosClient, run: str) -> dict[str, Any]:
        """The effect whose outcome is unknown, once the run waits for somebody to say."""
        shown = await self.until(client, run, unknown_effect, "an unknown effect")
        effect = unknown_effect(shown)
        assert effect is not None
        return effect

    async def asked(self, client: AosClient, run: str) -> list[dict[str, Any]]:
        """The approvals that the run waits for, once it does."""

        def requested(shown: Run) -> list[dict[str, Any]]:
            return [each for each in shown["approvals"] if each["state"] == "requested"]

        return requested(await self.until(client, run, requested, "an approval"))

    async def sweeps(self, count: int, after: int | None = None) -> int:
        """Wait until the doorbells were swept so many times; how often they were by this host."""

        def swept() -> int:
            return self.log.count(" ring_again ")

        goal = (swept() if after is None else after) + count
        deadline = time.monotonic() + PATIENCE_S
        while swept() < goal:
            assert time.monotonic() < deadline, f"nothing sweeps:\n{self.log}"
            await asyncio.sleep(_PAUSE_S)
        return swept()

    async def doorbells(self) -> int:
        """How many doorbells nobody has answered yet."""
        async with open_local(self.data / "aos" / "storage") as storage:
            return len((await storage.rows.list("doorbells", "pending")).rows)

    async def at_rest(self, entity: str, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The state of an entity as it lies in the hub, once it has got there: signals take their time."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            hub = sqlite3.connect(f"file:{self.data / 'hub.db'}?mode=ro", uri=True)
            with closing(hub):
                row = hub.execute("SELECT state FROM entities WHERE id = ?", (entity,)).fetchone()
            state: dict[str, Any] = json.loads(row[0])
            if reached(state):
                return state
            assert time.monotonic() < deadline, f"{entity} stays as it is: {state}"
            await asyncio.sleep(_PAUSE_S)

    async def verified(self, client: AosClient, run: str) -> tuple[Verified, list[dict[str, Any]]]:
        """What the run's dossier says, which verifies, and its records."""
        dossier = await self.insist(lambda: client.dossier(run))
        key = await self.insist(client.audit_key)
        return verify_dossier(dossier, key.encode()), records_of(dossier)


def unknown_effect(shown: Run) -> dict[str, Any] | None:
    """The run's effect whose outcome is unknown, if there is one."""
    return next((effect for effect in shown["effects"] if effect["state"] == "unknown"), None)


def records_of(dossier: bytes) -> list[dict[str, Any]]:
    """The records of a dossier."""
    return [json.loads(line) for line in dossier.splitlines()[1:-1]]


def step_of(shown: Run, step: str) -> dict[str, Any]:
    """One step of the run."""
    found: dict[str, Any] = next(each for each in shown["steps"] if each["id"] == step)
    return found


def facts_of(records: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The records of one type of fact."""
    return [record for record in records if record["leaf"]["type"] == kind]
