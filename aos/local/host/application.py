"""One version of the app: what is on disk when it is loaded, its workers, functions and listeners."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aos.local.host.background import Background
from aos.local.host.broker import connect, connect_default, read_topology, topology_file
from aos.local.host.bus import BusTriggers
from aos.local.host.busentities import bus_bindings, topology_of
from aos.local.host.console import Console
from aos.local.host.durable import DurablePump, client_configuration
from aos.local.host.errors import HostError
from aos.local.host.functions import Function, Trigger, functions_of
from aos.local.host.hostjson import HostJson, read_host_json
from aos.local.host.messaging import Messaging
from aos.local.host.options import HostOptions
from aos.local.host.outputs import Outputs
from aos.local.host.serving import Site
from aos.local.host.settings import app_settings, worker_count
from aos.local.host.settlements import Settlements
from aos.local.host.supervisor import Supervisor
from aos.local.host.throttle import Throttle
from aos.local.host.timers import Timers
from aos.local.host.web import RouteTable
from aos.local.servicebus import Broker, Topology
from aos.local.taskhub import TaskHub


class Listener(Protocol):
    """A source of invocations."""

    def start(self) -> None:
        """Begin to take work."""

    def pause(self) -> None:
        """Take no more work; what runs goes on."""

    async def close(self) -> None:
        """Give back what was not finished."""


@dataclass(frozen=True, slots=True)
class Definition:
    """What the app's files say besides its code."""

    app: Path
    settings: dict[str, str]
    host_json: HostJson
    topology: Topology | None
    workers: int


def read_definition(app: Path, options: HostOptions) -> Definition:
    """Read the app's files; `HostError` names the one that is wrong."""
    settings = app_settings(app, os.environ, options.env)
    host_json = read_host_json(app, settings)
    script = app / settings.get("PYTHON_SCRIPT_FILE_NAME", "function_app.py")
    if not script.is_file():
        raise HostError(f"{script} does not exist: this host runs apps in the Python v2 model")
    path = options.topology or topology_file(app)
    topology = read_topology(path) if options.topology or path.is_file() else None
    workers = options.workers or worker_count(settings)
    return Definition(app, settings, host_json, topology, workers)


@dataclass(frozen=True, slots=True)
class Ground:
    """What stays while versions of the app come and go."""

    console: Console
    url: str
    data: Path
    hub: TaskHub
    rpc_port: int
    messaging: Messaging
    python: str
    verbose: bool


class Application:
    """A version of the app: started, then listening, paused and drained, ended."""

    def __init__(self, definition: Definition, ground: Ground, background: Background) -> None:
        self.host_json = definition.host_json
        self.functions: Sequence[Function] = ()
        self.supervisor: Supervisor | None = None
        self._app = definition.app
        self._settings = dict(definition.settings)
        self._topology = definition.topology
        self._workers = definition.workers
        self._ground = ground
        self._background = background
        self._listeners: list[Listener] = []
        self._outputs = Outputs()
        self._settlements = Settlements()
        self._settlement_port: int | None = None

    async def start(self) -> Site:
        """Start the workers and make ready to listen; `HostError` when the app cannot be served."""
        self._ground.console.levels = self.host_json.log_levels
        self._settings.setdefault("WEBSITE_HOSTNAME", self._ground.url.partition("://")[2])
        broker = await self._open_broker(self._topology) if self._topology else None
        supervisor, broker = await self._load(broker)
        self._warn()
        table = RouteTable(self.functions, self.host_json.route_prefix)
        self._listeners = self._make_listeners(supervisor, broker)
        host_json = self.host_json
        throttle = Throttle(host_json.max_outstanding_requests, host_json.max_concurrent_requests)
        return Site(supervisor, table, host_json.response_headers, throttle)

    def listen(self) -> None:
        """Begin to take work."""
        for listener in self._listeners:
            listener.start()

    async def drain(self, grace_s: float) -> None:
        """Take no more work, and let what runs end within the grace period."""
        for listener in self._listeners:
            listener.pause()
        if self.supervisor is not None:
            await self.supervisor.drain(grace_s)

    async def end(self) -> None:
        """End the workers first, so that what they were doing can be given back."""
        if self.supervisor is not None:
            await self.supervisor.stop()
        for listener in self._listeners:
            await listener.close()
        await self._settlements.close()

    async def _open_broker(self, topology: Topology) -> Broker:
        broker = await self._ground.messaging.serve(topology)
        connect_default(self._settings, broker.connection_string)
        return broker

    async def _load(self, broker: Broker | None) -> tuple[Supervisor, Broker | None]:
        """Start the workers and learn the functions; again with more settings when bindings need them."""
        supervisor = await self._start_workers()
        if bus_bindings(self.functions):
            broker = broker or await self._open_broker(topology_of(self.functions))
            missing = connect(self.functions, self._settings, broker.connection_string)
            if any(function.settles for function in self.functions):
                self._settlement_port = await self._settlements.serve()
            if missing or self._settlement_port is not None:
                self._settings |= missing
                await supervisor.stop()
                supervisor = await self._start_workers()
            self._outputs.connect(self.functions, broker)
        return supervisor, broker

    def _warn(self) -> None:
        """Say what will not be as the app may think."""
        for function in self.functions:
            if function.retry is not None and function.trigger is not Trigger.TIMER:
                self._ground.console.warn(
                    f"function {function.name}: its retry policy has no effect: Azure Functions follows none"
                    f" for a {function.trigger} (messages are delivered as often as MaxDeliveryCount says)"
                )
        for problem in self._outputs.problems:
            self._ground.console.warn(problem)

    async def _start_workers(self) -> Supervisor:
        client = client_configuration(self.host_json.durable, self._ground.rpc_port, self._ground.url)
        hello = {
            "app": str(self._app),
            "client": json.dumps(client),
            "log_levels": self.host_json.log_levels.levels,
            "verbose": self._ground.verbose,
            "settlement_port": self._settlement_port,
        }
        self.supervisor = Supervisor(
            self._settings,
            hello,
            self._ground.console,
            self.host_json,
            self._background,
            outputs=self._outputs,
            python=self._ground.python,
            workers=self._workers,
        )
        metadata = await self.supervisor.start()
        self.functions = functions_of(metadata, self._settings, self.host_json.functions)
        return self.supervisor

    def _make_listeners(self, supervisor: Supervisor, broker: Broker | None) -> list[Listener]:
        active = [function for function in self.functions if not function.disabled]
        of = {kind: [each for each in active if each.trigger is kind] for kind in Trigger}
        durable = of[Trigger.ORCHESTRATION] + of[Trigger.ENTITY] + of[Trigger.ACTIVITY]
        listeners: list[Listener] = [
            Timers(of[Trigger.TIMER], self._ground.data / "timers.json", supervisor, self.host_json.retry),
            DurablePump(durable, self._ground.hub, self.host_json.durable, supervisor),
        ]
        if broker is not None:
            bus = self.host_json.bus
            listeners.append(BusTriggers(of[Trigger.BUS], broker, bus, supervisor, self._settlements))
        return listeners
