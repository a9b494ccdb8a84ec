"""The worker's main loop: frames in, functions run, frames out. It ends when the host does."""

import asyncio
import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import uvloop

from aos.local.host.frames import Channel, Kind, credited, pack, unpack
from aos.local.host.loglevels import LogLevels
from aos.local.host.worker import logs
from aos.local.host.worker.failures import failure_from, record_failures
from aos.local.host.worker.invoking import Function, Invocation, Invoker
from aos.local.host.worker.jobs import Call, Job
from aos.local.host.worker.lane import Lane
from aos.local.host.worker.loading import AppRefusedError, load_app, poll_http_every, uses_http_v2
from aos.local.host.worker.outputs import Outbox
from aos.local.host.worker.runtime import invocation_id_cv, thread_count
from aos.local.host.worker.sdkversions import sdk_is_known
from aos.local.host.worker.web import Exchange, Web

if TYPE_CHECKING:
    from aos.local.host.worker.turns import Turns


class Worker:
    """Everything that one worker process holds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, lane: socket.socket) -> None:
        self._loop = loop
        self._lane_socket = lane
        self._thread = threading.get_ident()
        self._channel = Channel(self._on_frame, self._on_lost)
        self._functions: dict[str, Function] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._exchanges: dict[int, Exchange] = {}
        self._running: dict[str, str] = {}
        self._outbox = Outbox(self._channel.send)
        self._lane: Lane | None = None
        self._turns: Turns | None = None
        self._invoker = Invoker("")
        self._web: Web | None = None
        self.stopped = asyncio.Event()

    async def connect(self, sock: socket.socket) -> None:
        """Take up the socket that the host left open for this process."""
        await self._loop.create_connection(lambda: self._channel, sock=sock)

    def _on_lost(self) -> NoReturn:
        os._exit(0)  # the host is gone: nobody wants the results, and a blocked thread must not keep us

    def _on_frame(self, kind: Kind, stream: int, payload: bytes) -> None:
        match kind:
            case Kind.INVOKE:
                self._start(stream, self._invoke(stream, payload))
            case Kind.REQUEST:
                head, _ = unpack(payload)
                self._exchanges[stream] = Exchange(
                    lambda kind, payload: self._channel.send(kind, stream, payload), has_body=head["has_body"]
                )
                self._start(stream, self._request(stream, head))
            case Kind.BODY | Kind.END | Kind.CREDIT | Kind.DISCONNECT:
                self._on_exchange(kind, stream, payload)
            case Kind.SENT:
                self._outbox.on_sent(stream, payload)
            case Kind.CANCEL:
                self._cancel(stream)
            case Kind.PING:
                self._channel.send(Kind.PONG, 0)
            case Kind.HELLO:
                self._load(unpack(payload)[0])
            case Kind.STOP:
                self.stopped.set()
            case _:
                raise AssertionError(f"{kind.name} comes from the worker, not to it")

    def _on_exchange(self, kind: Kind, stream: int, payload: bytes) -> None:
        exchange = self._exchanges.get(stream)
        if exchange is None:
            return  # answered already; the frame crossed our result
        match kind:
            case Kind.BODY:
                exchange.feed(payload)
            case Kind.END:
                exchange.finish()
            case Kind.CREDIT:
                exchange.grant(credited(payload))
            case _:
                exchange.disconnect()

    def _start(self, stream: int, work: Coroutine[Any, Any, None]) -> None:
        self._tasks[stream] = self._loop.create_task(work)

    def _cancel(self, stream: int) -> None:
        if stream in self._tasks:
            self._tasks[stream].cancel()
        elif self._lane is not None:
            self._lane.cancel(stream)

    def _load(self, hello: dict[str, Any]) -> None:
        logs.install(self._log, LogLevels(hello["log_levels"]), self._running, verbose=hello["verbose"])
        if hello["settlement_port"] is not None:
            sys.argv += settlement_arguments(hello["settlement_port"])
        try:
            described = load_app(Path(hello["app"]))
        except AppRefusedError as error:
            self._channel.send(Kind.REFUSED, 0, pack({"message": error.message, "trace": error.trace}))
            return
        if hello["http_poll_s"] is not None:
            poll_http_every(hello["http_poll_s"])
        self._turns = _turns(described)
        record_failures()
        self._functions = {function["id"]: Function(function) for function in described}
        for function in described:
            function["turns"] = self._turns is not None and function["id"] in self._turns
            function["lane"] = function["turns"] or self._functions[function["id"]].simple
        self._invoker = Invoker(hello["client"])
        self._web = Web(self._invoker, hello["client"], http_v2=uses_http_v2())
        self._lane = Lane(self._lane_socket, thread_count(), self._job, self._on_lost)
        self._lane.start()
        self._channel.send(Kind.READY, 0, pack({"functions": described, "pid": os.getpid()}))

    def _job(self, kind: Kind, payload: bytes) -> Job:
        """What a frame of the lane asks for: a turn, or a call of a function that is not async."""
        head, body = unpack(payload)
        function = self._functions[head["function"]]
        if kind is Kind.INVOKE:
            return Call(head["id"], function, self._running, body)
        assert self._turns is not None, "the host was told for which functions there are turns"
        return self._turns.job(head, function.name, self._running, body)

    async def _invoke(self, stream: int, payload: bytes) -> None:
        head, body = unpack(payload)
        function = self._functions[head["function"]]
        self._running[head["id"]] = function.name
        deliver = self._outbox.deliverer(stream, function.id, head["id"])
        invocation = Invocation(head["id"], head.get("metadata", {}), head.get("retry", {}), body, deliver)
        result: tuple[dict[str, Any], bytes]
        try:
            result = await self._invoker.run(function, invocation)
        except (asyncio.CancelledError, Exception) as error:  # noqa: BLE001 - every invocation gets a result
            result = _unanswered(function, head["id"], error), b""
        self._finish(stream, head["id"], pack(*result))

    async def _request(self, stream: int, head: dict[str, Any]) -> None:
        function = self._functions[head["function"]]
        self._running[head["id"]] = function.name
        invocation_id_cv.set(head["id"])
        assert self._web is not None, "requests come after READY"
        deliver = self._outbox.deliverer(stream, function.id, head["id"])
        try:
            result = await self._web.run(function, head["id"], head, self._exchanges[stream], deliver)
        except (asyncio.CancelledError, Exception) as error:  # noqa: BLE001 - every invocation gets a result
            result = _unanswered(function, head["id"], error)
        self._finish(stream, head["id"], pack(result))

    def _finish(self, stream: int, invocation_id: str, payload: bytes) -> None:
        sys.stdout.flush()
        self._running.pop(invocation_id, None)
        self._tasks.pop(stream, None)
        self._exchanges.pop(stream, None)
        self._channel.send(Kind.RESULT, stream, payload)

    def _log(self, level: str, logger: str, invocation_id: str | None, message: str) -> None:
        record = {"level": level, "logger": logger, "id": invocation_id, "message": message}
        frame = json.dumps(record).encode()
        if threading.get_ident() == self._thread:
            self._channel.send(Kind.LOG, 0, frame)
        elif self._lane is None or not self._lane.tell(Kind.LOG, frame):
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
                self._loop.call_soon_threadsafe(self._channel.send, Kind.LOG, 0, frame)


def _turns(described: list[dict[str, Any]]) -> "Turns | None":
    if not sdk_is_known():
        return None
    from aos.local.host.worker.turns import Turns  # noqa: PLC0415 - it needs the SDK

    return Turns(described)


def settlement_arguments(port: int) -> list[str]:
    """The arguments in which ServiceBusMessageActions looks for the host, as it is in Azure."""
    most_bytes = 4 * 1024 * 1024
    where = ["--host", "127.0.0.1", "--port", str(port)]
    return [*where, "--functions-grpc-max-message-length", str(most_bytes)]


def _unanswered(function: Function, invocation_id: str, error: BaseException) -> dict[str, Any]:
    """The result of an invocation that was given up, or that could not even be made."""
    stopped = function.cancellable or not isinstance(error, asyncio.CancelledError)
    return {"ok": False, "stopped": stopped, **failure_from(invocation_id, error)}


async def _serve(sock: socket.socket, lane: socket.socket) -> None:
    worker = Worker(asyncio.get_running_loop(), lane)
    await worker.connect(sock)
    await worker.stopped.wait()


def _die_with_host() -> None:
    """End when the host does, even while a function blocks the event loop.

    Standard input is a pipe that only the host holds open; the app gets an empty one instead.
    """
    life = os.dup(0)
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)

    def wait() -> None:
        os.read(life, 1)
        os._exit(0)

    threading.Thread(target=wait, name="host-watch", daemon=True).start()


def main() -> None:
    """Serve the host on the sockets whose descriptors are the first arguments: the loop's and the lane."""
    _die_with_host()
    sockets = [socket.socket(fileno=int(number)) for number in sys.argv[1:3]]
    for sock in sockets:
        sock.set_inheritable(False)
    uvloop.run(_serve(*sockets))
