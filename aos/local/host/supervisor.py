"""Keeping a worker alive, and running invocations on it: time limits, log lines, draining."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from aos.local.host.background import Background
from aos.local.host.calls import Call, Failure, Result, WorkerLostError
from aos.local.host.console import Console
from aos.local.host.errors import HostError
from aos.local.host.functions import Function
from aos.local.host.hostjson import HostJson
from aos.local.host.process import WorkerProcess

FUNCTION_TIMEOUT = "FunctionTimeout"
_BACKOFF_S = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0)
_HEALTHY_AFTER_S = 10.0
_CANCEL_GRACE_S = 2.0
_THREADS_FOR_HTTP = 32
_MOST_THREADS = 256


@dataclass(frozen=True, slots=True)
class _Line:
    """What the line of an invocation says besides its outcome."""

    kind: str
    name: str
    invocation_id: str
    note: str


class Supervisor:
    """One worker process after the other; `invoke` and `request` wait while there is none."""

    def __init__(
        self,
        environment: Mapping[str, str],
        hello: dict[str, Any],
        console: Console,
        host_json: HostJson,
        background: Background,
    ) -> None:
        self._background = background
        self._environment = {"PYTHON_THREADPOOL_THREAD_COUNT": str(_threads(host_json)), **environment}
        self._hello = hello
        self._console = console
        self._timeout_s = host_json.function_timeout_s
        self._worker: WorkerProcess | None = None
        self._ready = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._ended = False
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def say(self, message: str) -> None:
        """Write a line from the host."""
        self._console.say(message)

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run a task whose failure stops the host."""
        return self._background.spawn(work)

    @property
    def pid(self) -> int | None:
        """The worker's process id; `None` while it is being restarted."""
        return self._worker.pid if self._worker is not None and self._ready.is_set() else None

    async def start(self) -> list[dict[str, Any]]:
        """Start the first worker; the functions that it indexed."""
        self._worker = await self._launch()
        self._ready.set()
        self._keeper = self._background.spawn(self._keep())
        return self._worker.functions

    async def ready(self) -> None:
        """Wait until a worker runs: take no work while there is none."""
        await self._ready.wait()

    async def invoke(
        self,
        kind: str,
        function: Function,
        body: bytes,
        metadata: Mapping[str, Any] | None = None,
        note: str = "",
    ) -> Result:
        """Run a function with its trigger's data; `WorkerLostError` when the worker died under it."""
        worker, invocation_id = await self._live(), str(uuid.uuid4())
        call = worker.invoke(function.function_id, invocation_id, body, metadata)
        return await self._finish(worker, call, _Line(kind, function.name, invocation_id, note))

    @contextlib.asynccontextmanager
    async def request(self, function: Function, head: dict[str, Any]) -> AsyncIterator[Call]:
        """An HTTP invocation; leaving the block early tells the app that the client went away."""
        worker, invocation_id = await self._live(), str(uuid.uuid4())
        headers = [*head["headers"], ("x-ms-invocation-id", invocation_id)]
        head = {**head, "headers": headers, "function": function.function_id, "id": invocation_id}
        call = worker.request(head)
        note = f"{head['method']} {head['path']}"
        line = _Line("http", function.name, invocation_id, note)
        ending = asyncio.create_task(self._finish(worker, call, line))
        ending.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            yield call
        finally:
            if not call.result.done():
                call.disconnect()

    async def drain(self, grace_s: float) -> None:
        """Wait until nothing runs, at most `grace_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._idle.wait()

    def kill(self) -> None:
        """End the worker at once."""
        if self._worker is not None:
            self._worker.kill()

    async def stop(self) -> None:
        """End the worker for good."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        if self._worker is not None:
            await self._worker.stop()
            self._worker = None
        self._ended = True
        self._ready.set()  # whoever waits for a worker learns that there will be none

    async def _live(self) -> WorkerProcess:
        """The worker, once there is one that lives; `WorkerLostError` when there will be none."""
        await self._ready.wait()
        while self._worker is None or self._worker.lost.done():
            if self._ended:
                raise WorkerLostError
            await asyncio.sleep(0)
            await self._ready.wait()
        return self._worker

    async def _launch(self) -> WorkerProcess:
        worker = WorkerProcess(self._console)
        try:
            await worker.start(self._environment, self._hello)
        except BaseException:
            worker.kill()
            await worker.stop()
            raise
        return worker

    async def _keep(self) -> None:
        """Restart the worker whenever it dies, later and later; give up when the app no longer loads."""
        assert self._worker is not None, "there is a worker to keep"
        deaths, functions = 0, self._worker.functions
        while True:
            started = time.monotonic()
            await asyncio.shield(self._worker.lost)
            self._ready.clear()
            self._console.say(
                f"the worker (pid {self._worker.pid}) {await self._worker.ended()}; restarting it"
            )
            deaths = 0 if time.monotonic() - started > _HEALTHY_AFTER_S else deaths
            await asyncio.sleep(_BACKOFF_S[min(deaths, len(_BACKOFF_S) - 1)])
            deaths += 1
            self._worker = await self._launch()
            if self._worker.functions != functions:
                raise HostError("the app's functions changed on disk: start the host again", code=1)
            self._ready.set()

    async def _finish(self, worker: WorkerProcess, call: Call, line: "_Line") -> Result:
        """Wait for a call within the time limit and write its line."""
        started = time.perf_counter()
        failure: Failure | None = Failure("WorkerLost", "the worker process ended")
        self._running += 1
        self._idle.clear()
        try:
            done, _ = await asyncio.wait([call.result], timeout=self._timeout_s)
            result = call.result.result() if done else await self._give_up(worker, call)
            failure = result.failure
            return result
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()
            self._console.invocation(
                line.kind,
                line.name,
                line.invocation_id,
                (time.perf_counter() - started) * 1000,
                failure=(failure.line, failure.trace) if failure else None,
                note=line.note,
            )

    async def _give_up(self, worker: WorkerProcess, call: Call) -> Result:
        """End an invocation that took too long, and the worker when that cannot let go, as in Azure."""
        call.timed_out = True
        call.cancel()
        done, _ = await asyncio.wait([call.result], timeout=_CANCEL_GRACE_S)
        if not done or call.result.exception() or not call.result.result().stopped:
            self._console.say("a function that took too long cannot be stopped; replacing the worker")
            worker.kill()
        limit = f"{self._timeout_s:g} s"
        return Result(
            failure=Failure(FUNCTION_TIMEOUT, f"the function did not finish within functionTimeout ({limit})")
        )


def _threads(host_json: HostJson) -> int:
    """Sync functions, orchestrators and entities share one pool: a thread for all that may run at once.

    Otherwise sync functions that wait for orchestrations would keep those from ever running.
    """
    durable = host_json.durable
    wanted = (
        durable.activities + durable.orchestrators + durable.entities + host_json.bus.max_concurrent_calls
    )
    return min(wanted + _THREADS_FOR_HTTP, _MOST_THREADS)
