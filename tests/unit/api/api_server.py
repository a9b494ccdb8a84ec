"""The real app on the real local storage, behind a real HTTP server on a loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Match
from tls_server import listening

from aos.api.app import create_app
from aos.kernel.agents.definition import Effect
from aos.kernel.governance.approval import Action
from aos.kernel.governance.audit.records import Fact, FactType
from aos.kernel.governance.effects import Act
from aos.kernel.governance.policy import PolicyDecision, Verdict
from aos.kernel.messaging.step_message import StepMessage
from aos.services.auth.keys import KeyStore
from aos.services.effects.effects import EffectKey
from aos.services.environment.clock import Clock, system_clock, timestamp
from aos.services.environment.settings import Settings
from aos.services.runs.approvals import Asked
from aos.services.runs.run import RunStatus
from aos.services.storage.local import open_local
from aos.services.system import System, open_system

WORKFLOW = "strategic-review"
INPUT: dict[str, Any] = {
    "title": "A warehouse",
    "summary": "Robots pick.",
    "cash_flows": [-1000, 700, 800],
    "discount_rate": 0.1,
    "components": [{"name": "robots", "novelty": 0.5, "effort_weeks": 8}],
    "deadline_weeks": 20,
    "launch": {
        "vendor": "ACME",
        "vendor_confirmed": True,
        "launch_date": "2027-05-03",
        "earliest_start": "2027-04-19",
    },
}
ROLES = ("viewer", "operator", "approver", "board")


class Orchestrations:
    """The port, in memory: it remembers what it was asked."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.raised: list[tuple[str, str, dict[str, Any]]] = []

    async def start(self, run: str) -> None:
        self.started.append(run)

    async def raise_event(self, instance: str, name: str, data: Mapping[str, Any]) -> None:
        self.raised.append((instance, name, dict(data)))


class Queue:
    """The port, in memory. The API sends no steps."""

    async def send(self, message: StepMessage, *, at: float | None = None) -> None:
        raise AssertionError(f"the API sent {message}")


class Directory:
    """What is known of the agents' instances; ``failure`` is raised instead if it is set."""

    def __init__(self) -> None:
        self.instances: dict[str, dict[str, Any]] = {}
        self.failure: Exception | None = None

    async def states(self) -> Mapping[str, Mapping[str, Any]]:
        if self.failure is not None:
            raise self.failure
        return self.instances


@dataclass
class Api:
    """One served system, with a key for every role."""

    system: System
    app: FastAPI
    url: str
    orchestrations: Orchestrations
    directory: Directory
    keys: dict[str, str]
    data: Path
    clients: dict[str | None, httpx.AsyncClient] = field(default_factory=dict)

    def as_(self, who: str | None) -> httpx.AsyncClient:
        """Return a client with the key of a role, or without one."""
        if who not in self.clients:
            headers = {} if who is None else {"Authorization": f"Bearer {self.keys[who]}"}
            hooks = {"response": [self._check_described]}
            self.clients[who] = httpx.AsyncClient(
                base_url=self.url, headers=headers, event_hooks=hooks, timeout=20
            )
        return self.clients[who]

    def actor(self, who: str) -> str:
        """Return how records name who holds the key of a role."""
        return f"user:{who} ({self.keys[who].split('_')[1]})"

    async def _check_described(self, response: httpx.Response) -> None:
        """Every answer is one that the OpenAPI description tells of, every error a whole problem."""
        if response.status_code >= 400:
            await response.aread()
            problem_of(response)
        if described := self.described(response.request.method, response.request.url.path):
            assert str(response.status_code) in described["responses"], response.request

    def described(self, method: str, path: str) -> dict[str, Any] | None:
        """Return what OpenAPI says of the operation that this request reaches."""
        scope = {"type": "http", "method": method, "path": path, "headers": []}
        for template, operations in self.app.openapi()["paths"].items():
            route = APIRoute(template, lambda: None, methods=[method])
            if route.matches(scope)[0] is Match.FULL and method.lower() in operations:
                found: dict[str, Any] = operations[method.lower()]
                return found
        return None

    async def start(self, **changes: Any) -> str:
        """Start a run over HTTP and return its id."""
        body = {"input": INPUT | changes}
        response = await self.as_("operator").post(f"/api/workflows/{WORKFLOW}/runs", json=body)
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    async def show(self, run: str) -> dict[str, Any]:
        """Return a run as the API shows it."""
        response = await self.as_("viewer").get(f"/api/runs/{run}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    async def begin(self, run: str) -> None:
        """Do what the orchestration does first."""
        await self.system.runs.update(run, lambda row: row.changed(status=RunStatus.RUNNING))
        await self.record(run, FactType.RUN_STARTED)

    async def record(self, run: str, kind: FactType, payload: Any = None, **subject: str | int) -> None:
        """Append one fact to the run's log."""
        size = len(await self.system.log.read(run))
        at = timestamp(self.system.clock())
        fact = Fact(
            id=f"{kind}.{size}", type=kind, at=at, actor="aos", subject=subject, payload=payload or {}
        )
        await self.system.log.append(run, size, [fact])

    async def end(self, run: str, status: RunStatus = RunStatus.COMPLETED, **changes: Any) -> None:
        """Do what the orchestration does last."""
        await self.record(run, FactType.RUN_ENDED, {"status": status.value})
        await self.system.log.checkpoint(run)
        at = self.system.clock()
        await self.system.runs.update(run, lambda row: row.changed(status=status, ended_at=at, **changes))

    async def ask(self, run: str, role: str = "approver") -> Asked:
        """Have the step ``board`` ask for an approval."""
        action = Action("tool.call", "reserve_funds", {"amount_usd": 1000.0})
        return await self.system.approvals.ask(
            run, "board", action, role=role, prompt="Reserve?", timeout_s=3600
        )

    async def lose(self, run: str, effect: str = "e" * 32) -> str:
        """Have an effect of the step ``launch`` whose outcome nobody knows."""
        key = EffectKey(run, "launch", effect)
        decision = PolicyDecision(Verdict.ALLOW, ("aos-runs-call-the-tools-of-their-workflow",))
        claim = await self.system.effects.claim(
            key, lease_s=60, args_hash="0" * 64, kind=Effect.ONCE, decision=decision
        )
        assert isinstance(claim, Act)
        await self.system.effects.mark_unknown(key, claim.record, "the connection broke")
        return effect

    def fingerprint(self) -> str:
        """Return a hash of everything that is stored, and of what the engine was asked."""
        with contextlib.closing(sqlite3.connect(self.data / "storage" / "storage.db")) as db:
            rows = [*db.execute("SELECT * FROM rows ORDER BY 1, 2, 3"), *db.execute("SELECT * FROM logs")]
        files = sorted(str(path) for path in (self.data / "storage" / "blobs").rglob("*") if path.is_file())
        state = [rows, files, self.orchestrations.started, self.orchestrations.raised]
        return hashlib.sha256(repr(state).encode()).hexdigest()


def problem_of(response: httpx.Response) -> dict[str, Any]:
    """Return the problem that an error is answered with, after looking at its form."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem: dict[str, Any] = json.loads(response.content)
    assert {"type", "title", "status", "detail", "instance", "code"} <= set(problem)
    assert problem["status"] == response.status_code
    assert problem["type"] == f"urn:aos:problem:{problem['code']}"
    assert problem["detail"]
    assert problem["title"]
    assert problem["instance"] == response.request.url.path
    return problem


@contextlib.asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """Serve the app on a free port; gives its URL."""
    with listening() as listener:
        config = uvicorn.Config(
            app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1, access_log=False
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def open_api(data: Path, clock: Clock = system_clock, **settings: Any) -> AsyncIterator[Api]:
    """Open a system in ``data``, with these settings, and serve its API."""
    orchestrations, directory = Orchestrations(), Directory()
    keys = await _make_keys(data)
    system = open_system(Settings(data=data, **settings), orchestrations, Queue(), clock=clock)
    app = create_app(system, directory)
    async with system.storage, serving(app) as url:
        api = Api(system, app, url, orchestrations, directory, keys, data)
        try:
            yield api
        finally:
            for client in api.clients.values():
                await client.aclose()


async def _make_keys(data: Path) -> dict[str, str]:
    """Make them as an operator does, beside the system: a standby makes none."""
    async with open_local(data / "storage") as storage:
        store = KeyStore(storage.rows)
        keys = {role: (await store.create(role, [role], "default"))[0] for role in ROLES}
        keys["stranger"] = (await store.create("stranger", ROLES, "another"))[0]
        keys["revoked"], record = await store.create("revoked", ROLES, "default")
        await store.revoke("default", record.id)
    return keys | {"wrong": f"aos_{'0' * 16}_{'x' * 43}", "garbage": "aos_"}
