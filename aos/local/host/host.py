"""The host: everything put together, started in order and stopped in the reverse."""

import asyncio
import contextlib
import importlib.metadata
import os
import signal
import socket
import time
import uuid
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

import uvloop

from aos.local.host.console import Console
from aos.local.host.errors import HostError
from aos.local.host.functions import Function, Trigger, functions_of
from aos.local.host.hostjson import HostJson, read_host_json
from aos.local.host.options import HostOptions
from aos.local.host.settings import app_settings
from aos.local.host.state import DataFolder
from aos.local.host.supervisor import Supervisor
from aos.local.host.timers import Timers
from aos.local.host.web import FrontEnd, RouteTable


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
        self.port = options.port

    @classmethod
    async def start(cls, options: HostOptions) -> "Host":
        """Start everything; `HostError` when something is wrong, and then nothing is left running."""
        host = cls(options, Console(verbose=options.verbose))
        try:
            await host._start()
        except BaseException:
            await host._stack.aclose()
            raise
        return host

    @property
    def url(self) -> str:
        """Where the app is served, without a trailing slash."""
        return f"http://{self._options.host}:{self.port}"

    async def wait(self) -> None:
        """Return when the host was stopped; `HostError` when no worker can be kept running."""
        stopped = asyncio.create_task(self._stopped.wait())
        await asyncio.wait([stopped, self._supervisor.failed], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if self._supervisor.failed.done() and not self._supervisor.failed.cancelled():
            self._supervisor.failed.result()

    async def stop(self) -> None:
        """Stop taking work, let running invocations finish for the grace period, then end everything."""
        self._console.say("stopping")
        self._front.stop_accepting()
        for listener in self._listeners:
            listener.pause()
        await self._supervisor.drain(self._options.grace_s)
        await self._stack.aclose()
        self._stopped.set()
        self._console.say("stopped")

    def kill(self) -> None:
        """End the worker at once."""
        self._supervisor.kill()

    async def _start(self) -> None:
        app = _app_folder(self._options.app)
        host_json = read_host_json(app)
        settings = app_settings(app, os.environ, self._options.env)
        _require_script(app, settings)
        sock = self._bind()
        settings.setdefault("WEBSITE_HOSTNAME", f"{self._options.host}:{self.port}")
        folder = DataFolder(self._options.data.resolve())
        folder.acquire()
        self._stack.callback(folder.release)
        self._stack.push_async_callback(self._close_listeners)
        self._supervisor = Supervisor(app, settings, self._hello(app, host_json), self._console, host_json)
        self._stack.push_async_callback(self._supervisor.stop)
        self._functions = functions_of(await self._supervisor.start(), settings, host_json.functions)
        timers = [each for each in self._active() if each.trigger is Trigger.TIMER]
        self._listeners = [Timers(timers, folder.path / "timers.json", self._supervisor, self._console)]
        table = RouteTable(self._functions, host_json.route_prefix)
        self._front = FrontEnd(self._supervisor, table, self._admin(), host_json.response_headers)
        self._stack.push_async_callback(self._front.close)
        await self._accept(sock)
        for listener in self._listeners:
            listener.start()
        self._announce(host_json)

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

    async def _accept(self, sock: socket.socket) -> None:
        try:
            await self._front.start(sock)
        except OSError as error:
            raise self._port_error(error) from error

    def _hello(self, app: Path, host_json: HostJson) -> dict[str, Any]:
        return {
            "app": str(app),
            "client": "{}",
            "log_level": host_json.log_level,
            "verbose": self._options.verbose,
        }

    def _active(self) -> list[Function]:
        return [function for function in self._functions if not function.disabled]

    async def _close_listeners(self) -> None:
        for listener in self._listeners:
            await listener.close()

    def _admin(self) -> dict[str, Any]:
        return {
            "/admin/host/status": self._status,
            "/admin/host/ping": lambda: {},
            "/admin/functions": lambda: [_function_document(function) for function in self._functions],
        }

    def _status(self) -> dict[str, Any]:
        return {
            "id": self._id,
            "state": "Running",
            "version": importlib.metadata.version("aos"),
            "processUptime": round((time.monotonic() - self._started) * 1000),
            "functionCount": len(self._functions),
            "workerPid": self._supervisor.pid,
        }

    def _announce(self, host_json: HostJson) -> None:
        for function in self._active():
            if not function.name.startswith("BuiltIn__"):
                self._console.say(
                    f"{function.trigger:20} {function.name} {_detail(function, host_json)}".rstrip()
                )
        elapsed_ms = (time.monotonic() - self._started) * 1000
        self._console.say(f"serving {self._options.app} at {self.url}, ready after {elapsed_ms:.0f} ms")


def run_host(options: HostOptions) -> int:
    """Run until SIGINT or SIGTERM; the exit code. A second signal ends everything at once."""
    return uvloop.run(_run(options))


async def _run(options: HostOptions) -> int:
    stopping = asyncio.Event()
    hosts: list[Host] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _on_signal, number, stopping, hosts)
    console = Console(verbose=options.verbose)
    try:
        host = await _unless(stopping, Host.start(options))
        if host is None:
            return 0
        hosts.append(host)
        try:
            await _unless(stopping, host.wait())
        finally:
            await host.stop()
    except HostError as error:
        console.say(f"error: {error.message}")
        console.flush()
        return error.code
    return 0


def _on_signal(number: int, stopping: asyncio.Event, hosts: list[Host]) -> None:
    if stopping.is_set():
        for host in hosts:
            host.kill()
        os._exit(128 + number)
    stopping.set()


async def _unless[T](stopping: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The work's result, or `None` when a signal came first; then the work is cancelled."""
    task, signalled = asyncio.create_task(work), asyncio.create_task(stopping.wait())
    await asyncio.wait([task, signalled], return_when=asyncio.FIRST_COMPLETED)
    signalled.cancel()
    if task.done():
        return task.result()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return None


def _app_folder(path: Path) -> Path:
    if not path.is_dir():
        raise HostError(f"the app folder {path} does not exist")
    return path.resolve()


def _require_script(app: Path, settings: dict[str, str]) -> None:
    script = app / settings.get("PYTHON_SCRIPT_FILE_NAME", "function_app.py")
    if not script.is_file():
        raise HostError(f"{script} does not exist: this host runs apps in the Python v2 model")


def _detail(function: Function, host_json: HostJson) -> str:
    match function.trigger:
        case Trigger.HTTP:
            prefix = f"/{host_json.route_prefix}" if host_json.route_prefix else ""
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
