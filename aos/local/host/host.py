"""The host: everything put together, started in order and stopped in the reverse."""

import asyncio
import contextlib
import importlib.metadata
import json
import os
import socket
import time
import uuid
from pathlib import Path
from typing import Any, Protocol

from aos.local.host.background import Background
from aos.local.host.broker import (
    connect,
    connect_default,
    open_broker,
    read_topology,
    topology_file,
    topology_of,
)
from aos.local.host.bus import BusTriggers
from aos.local.host.console import Console
from aos.local.host.durable import DurablePump, client_configuration
from aos.local.host.errors import HostError
from aos.local.host.functions import Function, Trigger, functions_of
from aos.local.host.hostjson import read_host_json
from aos.local.host.options import HostOptions
from aos.local.host.settings import app_settings
from aos.local.host.state import DataFolder
from aos.local.host.supervisor import Supervisor
from aos.local.host.timers import Timers
from aos.local.host.web import FrontEnd, RouteTable
from aos.local.servicebus import Broker, Topology
from aos.local.taskhub import HubError, TaskHub, serve


class Listener(Protocol):
    """A source of invocations."""

    def start(self) -> None:
        """Begin to take work."""

    def pause(self) -> None:
        """Take no more work; what runs goes on."""

    async def close(self) -> None:
        """Give back what was not finished."""


class Host:
    """A running host. Made by `Host.start`."""

    def __init__(self, options: HostOptions, console: Console) -> None:
        self._options = options
        self._console = console
        self._stack = contextlib.AsyncExitStack()
        self._listeners: list[Listener] = []
        self._functions: list[Function] = []
        self._id = uuid.uuid4().hex
        self._started = time.monotonic()
        self._stopped = asyncio.Event()
        self._background = Background()
        self._supervisor: Supervisor | None = None
        self._front: FrontEnd | None = None
        self.port = options.port

    @classmethod
    async def start(cls, options: HostOptions) -> "Host":
        """Start everything; `HostError` when something is wrong, and then nothing is left running."""
        host = cls(options, Console(verbose=options.verbose, stream=options.log))
        try:
            await host._start()
        except BaseException:
            await host._end()
            raise
        return host

    @property
    def url(self) -> str:
        """Where the app is served, without a trailing slash."""
        return f"http://{self._options.host}:{self.port}"

    async def wait(self) -> None:
        """Return when the host was stopped; `HostError` when it cannot go on."""
        stopped = asyncio.create_task(self._stopped.wait())
        either: list[asyncio.Future[Any]] = [stopped, self._background.failed]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if self._background.failed.done():
            self._background.failed.result()

    async def stop(self) -> None:
        """Stop taking work, let running invocations finish for the grace period, then end everything."""
        self._console.say("stopping")
        if self._front is not None:
            self._front.stop_accepting()
        for listener in self._listeners:
            listener.pause()
        if self._supervisor is not None:
            await self._supervisor.drain(self._options.grace_s)
        await self._end()
        self._stopped.set()
        self._console.say("stopped")

    def kill(self) -> None:
        """End the worker at once."""
        if self._supervisor is not None:
            self._supervisor.kill()

    async def _end(self) -> None:
        """The worker first, so that what it was doing can be given back; then everything below it."""
        if self._supervisor is not None:
            await self._supervisor.stop()
        for listener in self._listeners:
            await listener.close()
        if self._front is not None:
            await self._front.close()
        await self._stack.aclose()

    async def _start(self) -> None:
        options = self._options
        self._app = _app_folder(options.app)
        self._settings = app_settings(self._app, os.environ, options.env)
        self._host_json = read_host_json(self._app, self._settings)
        _require_script(self._app, self._settings)
        topology_path = topology_file(options.topology, self._app)
        topology = read_topology(topology_path) if topology_path else None
        sock = self._bind()
        self._settings.setdefault("WEBSITE_HOSTNAME", f"{options.host}:{self.port}")
        self._data = self._lock_data()
        hub = await self._open_hub()
        broker = await self._open_broker(topology) if topology else None
        supervisor, broker = await self._load(broker)
        self._listeners = self._make_listeners(supervisor, hub, broker)
        await self._open_front(sock, supervisor)
        for listener in self._listeners:
            listener.start()
        if options.on_serving is not None:
            await asyncio.to_thread(options.on_serving)
        self._announce()

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._options.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        self._stack.callback(sock.close)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((self._options.host, self._options.port))
        except (OSError, OverflowError) as error:
            raise self._port_error(error) from error
        self.port = sock.getsockname()[1]
        return sock

    def _port_error(self, error: OSError | OverflowError) -> HostError:
        reason = error.strerror if isinstance(error, OSError) else "no such port"
        return HostError(f"cannot listen on {self._options.host} port {self._options.port}: {reason}")

    async def _open_front(self, sock: socket.socket, supervisor: Supervisor) -> None:
        table = RouteTable(self._functions, self._host_json.route_prefix)
        front = FrontEnd(supervisor, table, self._admin(supervisor), self._host_json.response_headers)
        self._front = front
        try:
            await front.start(sock)
        except OSError as error:
            raise self._port_error(error) from error

    def _lock_data(self) -> Path:
        folder = DataFolder(self._options.data.resolve())
        folder.acquire()
        self._stack.callback(folder.release)
        return folder.path

    async def _open_hub(self) -> TaskHub:
        """Open the hub, and serve it to the durable clients of the worker."""
        os.environ.setdefault(
            "GRPC_ENABLE_FORK_SUPPORT", "0"
        )  # else it complains whenever a worker is started
        try:
            hub = await TaskHub.open(self._data / "hub.db")
            self._stack.push_async_callback(hub.close)
            server = await serve(hub)
        except HubError as error:
            raise HostError(str(error)) from error
        self._stack.push_async_callback(server.stop, None)
        self._rpc_port = server.port
        return hub

    async def _open_broker(self, topology: Topology) -> Broker:
        broker = await open_broker(self._data / "servicebus.db", topology)
        self._stack.push_async_callback(broker.close)
        connect_default(self._settings, broker.connection_string)
        return broker

    async def _load(self, broker: Broker | None) -> tuple[Supervisor, Broker | None]:
        """Start the worker and learn the functions; again with more settings when triggers need them."""
        supervisor = await self._start_worker()
        if any(function.trigger is Trigger.BUS for function in self._functions):
            broker = broker or await self._open_broker(topology_of(self._functions))
            missing = connect(self._functions, self._settings, broker.connection_string)
            if missing:
                self._settings |= missing
                await supervisor.stop()
                supervisor = await self._start_worker()
        return supervisor, broker

    async def _start_worker(self) -> Supervisor:
        durable = self._host_json.durable
        client = client_configuration(durable, self._rpc_port, self.url)
        hello = {
            "app": str(self._app),
            "client": json.dumps(client),
            "log_level": self._host_json.log_level,
            "verbose": self._options.verbose,
        }
        supervisor = Supervisor(self._settings, hello, self._console, self._host_json, self._background)
        self._supervisor = supervisor
        metadata = await supervisor.start()
        self._functions = functions_of(metadata, self._settings, self._host_json.functions)
        return supervisor

    def _make_listeners(self, supervisor: Supervisor, hub: TaskHub, broker: Broker | None) -> list[Listener]:
        active = [function for function in self._functions if not function.disabled]
        of = {kind: [each for each in active if each.trigger is kind] for kind in Trigger}
        durable = of[Trigger.ORCHESTRATION] + of[Trigger.ENTITY] + of[Trigger.ACTIVITY]
        listeners: list[Listener] = [
            Timers(of[Trigger.TIMER], self._data / "timers.json", supervisor),
            DurablePump(durable, hub, self._host_json.durable, supervisor),
        ]
        if broker is not None:
            listeners.append(BusTriggers(of[Trigger.BUS], broker, self._host_json.bus, supervisor))
        return listeners

    def _admin(self, supervisor: Supervisor) -> dict[str, Any]:
        return {
            "/admin/host/status": lambda: self._status(supervisor),
            "/admin/host/ping": lambda: {},
            "/admin/functions": lambda: [_function_document(function) for function in self._functions],
        }

    def _status(self, supervisor: Supervisor) -> dict[str, Any]:
        return {
            "id": self._id,
            "state": "Running",
            "version": importlib.metadata.version("aos"),
            "processUptime": round((time.monotonic() - self._started) * 1000),
            "functionCount": len(self._functions),
            "workerPid": supervisor.pid,
        }

    def _announce(self) -> None:
        for function in self._functions:
            if not function.disabled and not function.name.startswith("BuiltIn__"):
                detail = _detail(function, self._host_json.route_prefix)
                self._console.say(f"{function.trigger:20} {function.name} {detail}".rstrip())
        elapsed_ms = (time.monotonic() - self._started) * 1000
        self._console.say(f"serving {self._options.app} at {self.url}, ready after {elapsed_ms:.0f} ms")


def _app_folder(path: Path) -> Path:
    if not path.is_dir():
        problem = "is not a folder" if path.exists() else "does not exist"
        raise HostError(f"the app folder {path} {problem}")
    return path.resolve()


def _require_script(app: Path, settings: dict[str, str]) -> None:
    script = app / settings.get("PYTHON_SCRIPT_FILE_NAME", "function_app.py")
    if not script.is_file():
        raise HostError(f"{script} does not exist: this host runs apps in the Python v2 model")


def _detail(function: Function, route_prefix: str) -> str:
    match function.trigger:
        case Trigger.HTTP:
            prefix = f"/{route_prefix}" if route_prefix else ""
            methods = ",".join(str(method) for method in function.properties.get("methods") or ["any"])
            return f"{methods} {prefix}/{function.properties.get('route') or function.name}"
        case Trigger.TIMER:
            return str(function.properties["schedule"])
        case Trigger.BUS:
            return str(function.properties["queueName"])
        case _:
            return "" if function.durable_name == function.name else f"as {function.durable_name}"


def _function_document(function: Function) -> dict[str, Any]:
    return {
        "name": function.name,
        "language": "python",
        "isDisabled": function.disabled,
        "config": {"name": function.name, "bindings": list(function.bindings)},
    }
