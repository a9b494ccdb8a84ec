"""The host: everything put together, started in order and stopped in the reverse."""

import asyncio
import contextlib
import importlib.metadata
import socket
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aos.local.host.admin import Admin
from aos.local.host.application import Application, Ground, read_definition
from aos.local.host.background import Background
from aos.local.host.broker import topology_file
from aos.local.host.busentities import trigger_entity
from aos.local.host.console import Console
from aos.local.host.door import Door, KeyedDoor, OpenDoor
from aos.local.host.errors import AppError, HostError
from aos.local.host.functions import Function, Trigger
from aos.local.host.hubs import Hubs
from aos.local.host.interpreter import interpreter
from aos.local.host.keys import KeyFile
from aos.local.host.messaging import Messaging
from aos.local.host.options import HostOptions
from aos.local.host.serving import Serving
from aos.local.host.settings import DEFAULT_ADDRESS, DEFAULT_PORT, local_endpoint
from aos.local.host.state import DataFolder
from aos.local.host.watch import Watch
from aos.local.host.web import FrontEnd


class Host:
    """A running host. Made by `Host.start`."""

    def __init__(self, options: HostOptions, console: Console) -> None:
        self._options = options
        self._console = console
        self._stack = contextlib.AsyncExitStack()
        self._id = uuid.uuid4().hex
        self._started = time.monotonic()
        self._stopped = asyncio.Event()
        self._background = Background()
        self._serving = Serving()
        self._front: FrontEnd | None = None
        self._application: Application | None = None
        self._watch: Watch | None = None
        self._follower: asyncio.Task[None] | None = None
        self._address = DEFAULT_ADDRESS
        self.port = options.port or 0

    @classmethod
    async def start(cls, options: HostOptions) -> "Host":
        """Start everything; `HostError` when something is wrong, and then nothing is left running.

        With `reload` an app that cannot be loaded is not an error: the host says why, answers 503 and
        waits for an edit.
        """
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
        return f"http://{f'[{self._address}]' if ':' in self._address else self._address}:{self.port}"

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
        await self._stop_following()
        if self._front is not None:
            self._front.stop_accepting()
        if self._application is not None:
            await self._application.drain(self._options.grace_s)
        await self._end()
        self._stopped.set()
        self._console.say("stopped")

    def kill(self) -> None:
        """End the workers at once."""
        if self._application is not None and self._application.supervisor is not None:
            self._application.supervisor.kill()

    async def _end(self) -> None:
        """The workers first, so that what they were doing can be given back; then everything below them."""
        await self._stop_following()
        if self._application is not None:
            await self._application.end()
        if self._front is not None:
            await self._front.close()
        await self._stack.aclose()

    async def _stop_following(self) -> None:
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.wait([self._follower])

    async def _start(self) -> None:
        options = self._options
        self._app = _app_folder(options.app)
        if not options.reload:
            read_definition(self._app, options)  # what is wrong there is said before anything is made
        python = await interpreter(options.python)
        sock = self._bind(*self._endpoint())
        data = self._lock_data()
        door = self._make_door(data)
        front = self._front = FrontEnd(
            self._serving, door, Admin(self._serving, door, self._status), self._console
        )
        hubs, messaging = Hubs(data), Messaging(data / "servicebus.db")
        self._stack.push_async_callback(hubs.close)
        self._stack.push_async_callback(messaging.close)
        self._ground = Ground(self._console, self.url, data, door, hubs, messaging, python, options.verbose)
        if options.reload:
            await self._follow_from_now(data)
        else:
            await self._load(self._background)
        try:
            await front.start(sock)
        except OSError as error:
            raise self._port_error(error, self.port) from error
        if self._application is not None:
            self._application.listen()
        if options.on_serving is not None:
            await asyncio.to_thread(options.on_serving)
        self._announce()

    # -- versions of the app

    async def _load(self, background: Background) -> None:
        """Load the app as it is on disk, and serve it."""
        definition = read_definition(self._app, self._options)
        application = Application(definition, self._ground, background)
        try:
            site = await application.start()
        except BaseException:
            await application.end()
            raise
        self._application = application
        if self._watch is not None:
            self._watch.include(definition.host_json.watch_files, definition.host_json.watch_directories)
        self._serving.put(site)

    async def _unload(self) -> None:
        """Let what runs end within the grace period, and end this version; its work waits for the next."""
        self._serving.suspend()
        if self._front is not None:
            self._front.end_streams()
        application = self._application
        if application is not None:
            await application.drain(self._options.grace_s)
            await application.end()
            self._application = None

    async def _load_or_refuse(self, background: Background) -> None:
        try:
            await self._load(background)
        except HostError as error:
            self._refuse(error)

    def _refuse(self, error: HostError) -> None:
        self._console.say(f"error: {error.message}")
        self._console.say("answering 503 until an edit mends it")
        self._serving.refuse(error.message)

    async def _follow_from_now(self, data: Path) -> None:
        topology = self._options.topology or topology_file(self._app)
        self._watch = watch = Watch(self._app, files=[topology.resolve()], excluded=[data])
        background = Background()
        await self._load_or_refuse(background)
        self._follower = self._background.spawn(self._follow(watch, background))

    async def _follow(self, watch: Watch, background: Background) -> None:
        """Load the app again after each edit; an app whose workers can no longer be started is refused."""
        while True:
            edited = asyncio.create_task(watch.changed())
            try:
                either: list[asyncio.Future[Any]] = [edited, background.failed]
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                failure = background.failed.exception() if background.failed.done() else None
                if failure is not None:
                    if not isinstance(failure, AppError):
                        raise failure
                    await self._unload()
                    self._refuse(failure)
                names = await edited
            finally:
                edited.cancel()
            began = time.monotonic()
            self._console.say(f"{', '.join(names)} changed: loading the app again")
            await self._unload()
            background = Background()
            await self._load_or_refuse(background)
            if self._application is not None:
                self._application.listen()
                self._announce(time.monotonic() - began)

    # -- what stays while they come and go

    def _endpoint(self) -> tuple[str, int]:
        """Where to listen: as chosen, else as local.settings.json says."""
        options = self._options
        if options.host is not None and options.port is not None:
            return options.host, options.port
        try:
            address, port = local_endpoint(self._app)
        except HostError:
            if not options.reload:
                raise
            address, port = DEFAULT_ADDRESS, DEFAULT_PORT
        return options.host or address, port if options.port is None else options.port

    def _bind(self, address: str, port: int) -> socket.socket:
        self._address = address
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        self._stack.callback(sock.close)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((self._address, port))
        except (OSError, OverflowError) as error:
            raise self._port_error(error, port) from error
        self.port = sock.getsockname()[1]
        return sock

    def _port_error(self, error: OSError | OverflowError, port: int) -> HostError:
        reason = error.strerror if isinstance(error, OSError) else "no such port"
        return HostError(f"cannot listen on {self._address} port {port}: {reason}")

    def _lock_data(self) -> Path:
        folder = DataFolder(self._options.data.resolve())
        folder.acquire()
        self._stack.callback(folder.release)
        return folder.path

    def _make_door(self, data: Path) -> Door:
        if not self._options.enable_auth:
            return OpenDoor()
        keys = KeyFile(data / "keys.json")
        self._console.say(f"functions are called with the keys in {keys.path}")
        return KeyedDoor(keys)

    # -- what it says of itself

    @property
    def _functions(self) -> Sequence[Function]:
        return self._application.functions if self._application is not None else ()

    def _status(self) -> dict[str, Any]:
        supervisor = self._application.supervisor if self._application is not None else None
        workers = supervisor.workers if supervisor is not None else []
        refusal = self._serving.refusal
        return {
            "id": self._id,
            "state": "Error" if refusal else "Running",
            "errors": [refusal] if refusal else [],
            "version": importlib.metadata.version("aos"),
            "processUptime": round((time.monotonic() - self._started) * 1000),
            "functionCount": len(self._functions),
            "workerPid": workers[0]["pid"] if workers else None,
            "workers": workers,
        }

    def _announce(self, again_s: float | None = None) -> None:
        if self._application is not None:
            prefix = self._application.host_json.route_prefix
            for function in self._functions:
                if not function.disabled and not function.name.startswith("BuiltIn__"):
                    self._console.say(
                        f"{function.trigger:20} {function.name} {_detail(function, prefix)}".rstrip()
                    )
        connection = self._ground.messaging.connection_file
        if connection is not None:
            self._console.say(f"the connection string of its Service Bus is in {connection}")
        elapsed_ms = (time.monotonic() - self._started if again_s is None else again_s) * 1000
        self._console.say(f"serving {self._options.app} at {self.url}, ready after {elapsed_ms:.0f} ms")


def _app_folder(path: Path) -> Path:
    if not path.is_dir():
        problem = "is not a folder" if path.exists() else "does not exist"
        raise HostError(f"the app folder {path} {problem}")
    return path.resolve()


def _detail(function: Function, route_prefix: str) -> str:
    match function.trigger:
        case Trigger.HTTP:
            prefix = f"/{route_prefix}" if route_prefix else ""
            methods = ",".join(str(method) for method in function.properties.get("methods") or ["any"])
            route = str(function.properties.get("route") or function.name).lstrip("/")
            return f"{methods} {prefix}/{route}"
        case Trigger.TIMER:
            return str(function.properties["schedule"])
        case Trigger.BUS:
            return trigger_entity(function)
        case _:
            return "" if function.durable_name == function.name else f"as {function.durable_name}"
