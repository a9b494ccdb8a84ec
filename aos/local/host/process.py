"""One worker process: started, spoken to over a socket pair, and lost."""

import asyncio
import contextlib
import itertools
import json
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aos.local.host.calls import Call, HttpCall, Result, WorkerLostError
from aos.local.host.console import Console
from aos.local.host.errors import AppError, LoadCutShortError
from aos.local.host.frames import Channel, Kind, pack, unpack
from aos.local.host.outputs import Outputs

_LOAD_TIMEOUT_S = 120.0
_END_TIMEOUT_S = 3.0
_COLLECT_S = 0.5
_HANGS_AFTER_S = 0.2
_LINE_LIMIT = 1024 * 1024
_ROOT = str(Path(__file__).parents[3])
# Another environment may lack this package: it is offered there, and nothing else that lies beside it.
_MAIN = f"""
import sys
from importlib.machinery import PathFinder

class OfTheHost:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, [{_ROOT!r}]) if name == "aos" else None

sys.meta_path.append(OfTheHost)
from aos.local.host.worker.process import main
main()
"""


class WorkerProcess:
    """A running worker: `functions` are what it indexed, `lost` completes when it is gone."""

    def __init__(self, console: Console, outputs: Outputs, number: int | None = None) -> None:
        self.number = number  # told in lines when there are several
        self._outputs = outputs
        self._sending: set[asyncio.Task[None]] = set()
        self._console = console
        self._channel = Channel(self._on_frame, self._on_lost)
        self._lane = Channel(self._on_frame, self._on_lost)
        self._calls: dict[int, Call] = {}
        self._streams = itertools.count(1)
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._watch: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self._loaded: asyncio.Future[list[dict[str, Any]]] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.functions: list[dict[str, Any]] = []
        self._pinged: float | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None, "a worker has a pid once it was started"
        return self._process.pid

    @property
    def running(self) -> int:
        """How many invocations are under way."""
        return len(self._calls)

    @property
    def hangs(self) -> bool:
        """True when it left a ping unanswered for long: something blocks its event loop."""
        return self._pinged is not None and time.monotonic() - self._pinged > _HANGS_AFTER_S

    def ping(self) -> None:
        """Ask for a sign of life, unless it was asked already or has nothing to do."""
        if self._pinged is None and self._calls:
            self._pinged = time.monotonic()
            self._channel.send(Kind.PING, 0)

    async def start(self, python: str, environment: Mapping[str, str], hello: dict[str, Any]) -> None:
        """Start the process and let it load the app; `AppError` says why it cannot."""
        (ours, theirs), (our_lane, their_lane) = socket.socketpair(), socket.socketpair()
        for sock in (ours, our_lane):
            sock.setblocking(False)
        with theirs, their_lane:
            self._process = await asyncio.create_subprocess_exec(
                # -P: the app's folder must not stand before this package while the worker is imported.
                python, "-u", "-P", "-c", _MAIN, str(theirs.fileno()), str(their_lane.fileno()),
                pass_fds=[theirs.fileno(), their_lane.fileno()], env=dict(environment), cwd=hello["app"],
                stdin=subprocess.PIPE,  # never written to: it closes when this process dies
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                limit=_LINE_LIMIT,
                start_new_session=True,  # Ctrl-C is for the host, which ends the worker in its turn
            )  # fmt: skip
        self._readers = [
            asyncio.create_task(self._forward(stream))
            for stream in (self._process.stdout, self._process.stderr)
            if stream is not None
        ]
        self._watch = asyncio.create_task(self._notice_end(self._process))
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self._channel, sock=ours)
        await loop.create_connection(lambda: self._lane, sock=our_lane)
        self._channel.send(Kind.HELLO, 0, pack(hello))
        try:
            async with asyncio.timeout(_LOAD_TIMEOUT_S):
                self.functions = await self._loaded
        except TimeoutError as error:
            raise AppError(f"the app was not loaded within {_LOAD_TIMEOUT_S:.0f} s") from error

    def invoke(self, head: dict[str, Any], body: Sequence[bytes]) -> Call:
        """Begin an invocation with a trigger's data."""
        call = Call(self._channel, next(self._streams))
        self._begin(call, self._channel, Kind.INVOKE, pack(head, *body))
        return call

    def invoke_on_lane(self, frame: Kind, head: dict[str, Any], body: Sequence[bytes]) -> Call:
        """Begin an invocation that is for the lane, an INVOKE or a TURN."""
        call = Call(self._channel, next(self._streams))
        self._begin(call, self._lane, frame, pack(head, *body))
        return call

    def request(self, head: dict[str, Any]) -> HttpCall:
        """Begin an HTTP invocation."""
        call = HttpCall(self._channel, next(self._streams))
        self._begin(call, self._channel, Kind.REQUEST, pack(head))
        return call

    async def stop(self) -> None:
        """End the process: by asking, then by killing. What it still ran counts as lost, not as failed."""
        if self._process is None:
            return
        self._lose_calls()
        self._channel.send(Kind.STOP, 0)
        try:
            async with asyncio.timeout(_END_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
        await self._collect()

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def ended(self) -> str:
        """Wait until the process is gone and say how it ended."""
        assert self._process is not None, "only a started worker can end"
        code = await self._process.wait()
        await self._collect()
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"

    async def _notice_end(self, process: asyncio.subprocess.Process) -> None:
        """The socket tells of the end, unless a process that the app started holds it open too."""
        await process.wait()
        await asyncio.wait([self.lost], timeout=_COLLECT_S)
        for channel in (self._channel, self._lane):
            channel.close()

    async def _collect(self) -> None:
        """Take the last lines; a process that the app left behind may keep the pipes open for ever."""
        if self._readers:
            _, unfinished = await asyncio.wait(self._readers, timeout=_COLLECT_S)
            for reader in unfinished:
                reader.cancel()
        if self._watch is not None:
            await self._watch

    def _begin(self, call: Call, channel: Channel, frame: Kind, payload: bytes) -> None:
        if self.lost.done():
            raise WorkerLostError
        self._calls[call.stream] = call
        channel.send(frame, call.stream, payload)

    def _on_frame(self, kind: Kind, stream: int, payload: bytes) -> None:
        if kind is Kind.RESULT:
            self._on_result(stream, payload)
        elif kind is Kind.LOG:
            record = json.loads(payload)
            self._console.log(
                record["level"], record["logger"], record["id"], record["message"], worker=self.number
            )
        elif kind is Kind.OUTPUT:
            task = asyncio.create_task(self._send_outputs(stream, payload))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        elif kind is Kind.PONG:
            self._pinged = None
        elif kind is Kind.READY:
            self._loaded.set_result(unpack(payload)[0]["functions"])
        elif kind is Kind.REFUSED:
            self._on_refused(unpack(payload)[0])
        elif stream in self._calls:
            self._calls[stream].on_frame(kind, payload)

    def _on_result(self, stream: int, payload: bytes) -> None:
        call = self._calls.pop(stream, None)
        if call is not None:  # else lost already: the worker was told to end
            call.finish(Result.of(*unpack(payload)))

    async def _send_outputs(self, stream: int, payload: bytes) -> None:
        """Send what a function put out, and tell the worker, where the invocation waits for that."""
        head, body = unpack(payload)
        try:
            error = await self._outputs.send(head, body)
        except Exception as unexpected:  # noqa: BLE001 - whatever it is, the function is not to wait for ever
            error = f"the host could not send: {type(unexpected).__name__}: {unexpected}"
        self._channel.send(Kind.SENT, stream, pack({"error": error}))

    def _on_refused(self, head: dict[str, Any]) -> None:
        if self._console.verbose:
            self._console.say(head["trace"].rstrip())
        self._loaded.set_exception(AppError(f"the app cannot be loaded: {head['message']}"))

    def _on_lost(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        if not self._loaded.done():
            self._loaded.set_exception(LoadCutShortError())
        self._lose_calls()

    def _lose_calls(self) -> None:
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.finish(None)

    async def _forward(self, stream: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # a line longer than the limit; the reader dropped it
                continue
            if not line:
                return
            self._console.worker(line.decode(errors="replace").rstrip(), self.number)
