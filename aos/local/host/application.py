"""One version of the app: what is on disk when it is loaded, its workers, functions and listeners."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Protocol

from aos.local.host.apphub import ClientRules
from aos.local.host.background import Background
from aos.local.host.broker import connect, connect_default, read_topology, topology_file
from aos.local.host.bus import BusTriggers
from aos.local.host.busentities import bus_bindings, topology_of
from aos.local.host.byhand import ByHand
from aos.local.host.clientbinding import client_configuration, management_links, refuse_other_hubs
from aos.local.host.console import Console
from aos.local.host.cors import Cors
from aos.local.host.door import Door
from aos.local.host.durable import DurablePump
from aos.local.host.errors import HostError
from aos.local.host.functions import Function, Trigger, functions_of
from aos.local.host.hostjson import HostJson, read_host_json
from aos.local.host.hubs import Hubs, ServedHub
from aos.local.host.management import Management
from aos.local.host.messaging import Messaging
from aos.local.host.options import HostOptions
from aos.local.host.outputs import Outputs
from aos.local.host.routetable import RouteTable
from aos.local.host.schedule import time_zone
from aos.local.host.serving import Site
from aos.local.host.settings import app_settings, largest_body, local_cors, worker_count
from aos.local.host.settlements import Settlements
from aos.local.host.supervisor import Supervisor
from aos.local.host.throttle import Throttle
from aos.local.host.timers import Timers
from aos.local.servicebus import Broker, Topology

_TIME_ZONE = "WEBSITE_TIME_ZONE"


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
    cors: Cors
    zone: tzinfo


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
    try:
        zone = time_zone(settings.get(_TIME_ZONE))
    except ValueError as error:
        raise HostError(f"{_TIME_ZONE}: {error}") from error
    return Definition(app, settings, host_json, topology, workers, local_cors(app), zone)


@dataclass(frozen=True, slots=True)
class Ground:
    """What stays while versions of the app come and go."""

    console: Console
    url: str
    data: Path
    door: Door
    hubs: Hubs
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
        self._cors = definition.cors
        self._zone = definition.zone
        self._ground = ground
        self._background = background
        self._listeners: list[Listener] = []
        self._outputs = Outputs()
        self._links = management_links(self.host_json.durable, ground.url, ground.door.ring)
        self._settlements = Settlements()
        self._settlement_port: int | None = None

    async def start(self) -> Site:
        """Start the workers and make ready to listen; `HostError` when the app cannot be served."""
        self._ground.console.levels = self.host_json.log_levels
        self._settings.setdefault("WEBSITE_HOSTNAME", self._ground.url.partition("://")[2])
        served = await self._ground.hubs.serve(self.host_json.durable.hub_name)
        broker = await self._open_broker(self._topology) if self._topology else None
        supervisor, broker = await self._load(served, broker)
        refuse_other_hubs(self.functions, served.name)
        table = RouteTable(self.functions, self.host_json.route_prefix)
        self._warn(table)
        self._ground.door.expect(each.name for each in self.functions)
        served.hub.rules = self._client_rules()
        timers = self._make_timers(supervisor)
        self._listeners = [timers, *self._make_listeners(supervisor, served, broker)]
        host_json = self.host_json
        return Site(
            supervisor=supervisor,
            functions=self.functions,
            route_prefix=host_json.route_prefix,
            table=table,
            homepage=self._settings.get("AzureWebJobsDisableHomepage", "").lower() != "true",
            headers=host_json.response_headers,
            throttle=Throttle(host_json.max_outstanding_requests, host_json.max_concurrent_requests),
            largest_body=largest_body(self._settings),
            cors=self._cors,
            management=Management(served.hub, served.name, self._active(), self._links),
            run_by_hand=ByHand(supervisor, timers).run,
        )

    def _client_rules(self) -> ClientRules:
        durable = self.host_json.durable
        known = frozenset(each.durable_name.lower() for each in self._active_of(Trigger.ORCHESTRATION))
        return ClientRules(
            orchestrators=None if durable.filters_work else known,
            default_version=durable.versions.default,
            replaces_running=durable.replaces_running,
            events_must_arrive=durable.events_must_arrive,
        )

    def _active(self) -> list[Function]:
        return [function for function in self.functions if not function.disabled]

    def _active_of(self, kind: Trigger) -> list[Function]:
        return [function for function in self._active() if function.trigger is kind]

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

    async def _load(self, served: ServedHub, broker: Broker | None) -> tuple[Supervisor, Broker | None]:
        """Start the workers and learn the functions; again with more settings when bindings need them."""
        supervisor = await self._start_workers(served)
        if bus_bindings(self.functions):
            broker = broker or await self._open_broker(topology_of(self.functions))
            missing = connect(self.functions, self._settings, broker.connection_string)
            if any(function.settles for function in self.functions):
                self._settlement_port = await self._settlements.serve()
            if missing or self._settlement_port is not None:
                self._settings |= missing
                await supervisor.stop()
                supervisor = await self._start_workers(served)
            self._outputs.connect(self.functions, broker)
        return supervisor, broker

    def _warn(self, table: RouteTable) -> None:
        """Say what will not be as the app may think."""
        for function in self.functions:
            if function.retry is not None and function.trigger is not Trigger.TIMER:
                self._ground.console.warn(
                    f"function {function.name}: its retry policy has no effect: Azure Functions follows none"
                    f" for a {function.trigger} (messages are delivered as often as MaxDeliveryCount says)"
                )
        for problem in (*self._outputs.problems, *table.differences()):
            self._ground.console.warn(problem)

    async def _start_workers(self, served: ServedHub) -> Supervisor:
        client = client_configuration(self.host_json.durable, self._links, served.server.port)
        hello = {
            "app": str(self._app),
            "client": json.dumps(client),
            "log_levels": self.host_json.log_levels.levels,
            "verbose": self._ground.verbose,
            "http_poll_s": self.host_json.durable.http_poll_s,
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

    def _make_timers(self, supervisor: Supervisor) -> Timers:
        functions, status = self._active_of(Trigger.TIMER), self._ground.data / "timers.json"
        return Timers(functions, status, self._zone, supervisor, self.host_json.retry)

    def _make_listeners(
        self, supervisor: Supervisor, served: ServedHub, broker: Broker | None
    ) -> list[Listener]:
        kinds = Trigger.ORCHESTRATION, Trigger.ENTITY, Trigger.ACTIVITY
        durable = [function for kind in kinds for function in self._active_of(kind)]
        listeners: list[Listener] = [DurablePump(durable, served.hub, self.host_json.durable, supervisor)]
        if broker is not None:
            bus = self.host_json.bus
            listeners.append(
                BusTriggers(self._active_of(Trigger.BUS), broker, bus, supervisor, self._settlements)
            )
        return listeners
