"""The workers of one version of the app, and invocations run on them: time limits, log lines, draining."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aos.local.host.background import Background
from aos.local.host.calls import Failure, HttpCall, Result, WorkerLostError
from aos.local.host.console import Console
from aos.local.host.errors import AppError
from aos.local.host.frames import Kind
from aos.local.host.functions import Function
from aos.local.host.hostjson import HostJson
from aos.local.host.outputs import Outputs
from aos.local.host.process import WorkerProcess
from aos.local.host.retries import Retry
from aos.local.host.slot import WorkerSlot
from aos.local.host.underway import LOST, Run, UnderWay, new_invocation_id

FUNCTION_TIMEOUT = "FunctionTimeout"
_CANCEL_GRACE_S = 2.0
_PING_EVERY_S = 0.1
_THREADS_FOR_HTTP = 32
_MOST_THREADS = 256


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker is to run: `kind` and `note` are for its line, the rest is for the worker."""

    kind: str
    function: Function
    body: Sequence[bytes]
    head: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


class Supervisor:
    """A number of workers that all run the same app; `invoke` and `request` wait while there is none.

    Each invocation goes to the worker with the fewest under way that answers promptly. A worker that
    dies is replaced alone, and takes only its own invocations along.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        hello: dict[str, Any],
        console: Console,
        host_json: HostJson,
        background: Background,
        *,
        outputs: Outputs,
        python: str,
        workers: int = 1,
    ) -> None:
        self._python = python
        self._outputs = outputs
        self._background = background
        self._environment = {"PYTHON_THREADPOOL_THREAD_COUNT": str(_threads(host_json)), **environment}
        self._hello = hello
        self._console = console
        self._timeout_s = host_json.function_timeout_s
        self._many = workers > 1
        self._slots = [
            WorkerSlot(number, self._launch, self._changed, console) for number in range(1, workers + 1)
        ]
        self._ready = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._ended = False
        self._under_way = UnderWay(console, host_json.function_timeout_s, self._expired)

    def say(self, message: str) -> None:
        """Write a line from the host about something that went wrong and was dealt with."""
        self._console.warn(message)

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run a task whose failure stops the host."""
        return self._background.spawn(work)

    @property
    def workers(self) -> list[dict[str, int]]:
        """The workers that can take work: their number, process id and how many invocations each runs."""
        live = [(slot.number, slot.live) for slot in self._slots]
        return [
            {"number": number, "pid": worker.pid, "running": worker.running}
            for number, worker in live
            if worker
        ]

    async def start(self) -> list[dict[str, Any]]:
        """Start the workers; the functions that they indexed."""
        starting = [asyncio.create_task(slot.start()) for slot in self._slots]
        try:
            indexed = await asyncio.gather(*starting)
        except BaseException:
            for task in starting:
                task.cancel()
            await asyncio.wait(starting)
            raise
        if any(functions != indexed[0] for functions in indexed):
            raise AppError("the workers do not agree on the app's functions: are they the same at each load?")
        self._tasks = [self._background.spawn(slot.keep()) for slot in self._slots]
        if self._many:
            self._tasks.append(self._background.spawn(self._ping()))
        return indexed[0]

    async def ready(self) -> None:
        """Wait until a worker runs: take no work while there is none."""
        await self._ready.wait()

    async def invoke(
        self,
        kind: str,
        function: Function,
        body: bytes,
        metadata: Mapping[str, Any] | None = None,
        *,
        note: str = "",
        retry: Retry | None = None,
    ) -> Result:
        """Run a function with its trigger's data; `WorkerLostError` when the worker died under it."""
        head: dict[str, Any] = {}
        if metadata:
            head["metadata"] = metadata
        if retry is not None:
            head["retry"] = retry.head()
        ended: asyncio.Future[Result | None] = asyncio.get_running_loop().create_future()
        work = Work(kind, function, (body,), head, note)

        def end(result: Result | None) -> None:
            if not ended.done():
                ended.set_result(result)

        self.begin(await self._live(), work, end)
        result = await ended
        if result is None:
            raise WorkerLostError
        return result

    def pick(self, wanted: object = None) -> WorkerProcess | None:
        """The worker that takes the next invocation: the one wanted if it answers, else the least busy.

        None when there is none now.
        """
        able = [(slot, worker) for slot in self._slots if (worker := slot.live) is not None]
        if wanted is not None and any(worker is wanted and not worker.hangs for _, worker in able):
            able = [each for each in able if each[1] is wanted]
        if not able:
            return None
        slot, worker = min(able, key=lambda each: each[0].load)
        slot.take_turn()
        return worker

    def begin(self, worker: WorkerProcess, work: Work, ended: Callable[[Result | None], object]) -> None:
        """Run something on this worker; `ended` gets the result, None when the worker died under it."""
        invocation_id = new_invocation_id()
        head = {**work.head, "function": work.function.function_id, "id": invocation_id}
        if work.function.lane:
            frame = Kind.TURN if work.function.takes_turns else Kind.INVOKE
            call = worker.invoke_on_lane(frame, head, work.body)
        else:
            call = worker.invoke(head, work.body)
        self._watch(Run(work.kind, work.function.name, invocation_id, work.note, worker, call), ended)

    @contextlib.asynccontextmanager
    async def request(self, function: Function, head: dict[str, Any]) -> AsyncIterator[HttpCall]:
        """An HTTP invocation; leaving the block early tells the app that the client went away."""
        worker, invocation_id = await self._live(), new_invocation_id()
        headers = [*head["headers"], ("x-ms-invocation-id", invocation_id)]
        head = {**head, "headers": headers, "function": function.function_id, "id": invocation_id}
        call = worker.request(head)
        note = f"{head['method']} {head['path']}"
        self._watch(Run("http", function.name, invocation_id, note, worker, call))
        try:
            yield call
        finally:
            if not call.result.done():
                call.disconnect()

    async def drain(self, grace_s: float) -> None:
        """Wait until nothing runs, at most `grace_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._under_way.none()

    def kill(self) -> None:
        """End the workers at once."""
        for slot in self._slots:
            if slot.worker is not None:
                slot.worker.kill()

    async def stop(self) -> None:
        """End the workers for good."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(slot.stop() for slot in self._slots))
        self._ended = True
        self._ready.set()  # whoever waits for a worker learns that there will be none

    def _changed(self) -> None:
        if any(slot.live for slot in self._slots):
            self._ready.set()
        else:
            self._ready.clear()

    async def _live(self) -> WorkerProcess:
        """The least busy worker, once there is one; `WorkerLostError` when there will be none."""
        while True:
            await self._ready.wait()
            if (worker := self.pick()) is not None:
                return worker
            if self._ended:
                raise WorkerLostError
            await asyncio.sleep(0)  # a worker was lost just now, and its keeper is about to say so

    async def _launch(self, number: int) -> WorkerProcess:
        worker = WorkerProcess(self._console, self._outputs, number if self._many else None)
        try:
            await worker.start(self._python, self._environment, self._hello)
        except BaseException:
            worker.kill()
            await worker.stop()
            raise
        return worker

    async def _ping(self) -> None:
        """Learn which workers answer: a function that blocks its event loop must not hold up others."""
        while True:
            await asyncio.sleep(_PING_EVERY_S)
            for slot in self._slots:
                if slot.live is not None:
                    slot.live.ping()

    def _watch(self, run: Run, ended: Callable[[Result | None], object] = lambda _: None) -> None:
        def over(result: Result | None) -> None:
            run.call.ended = _nobody  # else run and call hold each other
            self._under_way.remove(run, result.failure if result is not None else LOST)
            ended(result)

        run.call.ended = over
        self._under_way.add(run)

    def _expired(self, run: Run) -> None:
        self._background.spawn(self._give_up(run))

    async def _give_up(self, run: Run) -> None:
        """End an invocation that took too long, and the worker when that cannot let go, as in Azure."""
        over, answer = run.call.ended, asyncio.get_running_loop().create_future()
        run.call.ended = answer.set_result
        run.call.timed_out = True
        run.call.cancel()
        await asyncio.wait([answer], timeout=_CANCEL_GRACE_S)
        result = answer.result() if answer.done() else None
        if result is None or not result.stopped:
            self._console.warn("a function that took too long cannot be stopped; replacing the worker")
            run.worker.kill()
        limit = f"{self._timeout_s:g} s"
        failure = Failure(FUNCTION_TIMEOUT, f"the function did not finish within functionTimeout ({limit})")
        over(Result(failure=failure))


def _nobody(_: Result | None) -> None:
    """Whom the end of an invocation is told that was told already."""


def _threads(host_json: HostJson) -> int:
    """Sync functions, orchestrators and entities share one pool: a thread for all that may run at once.

    Otherwise sync functions that wait for orchestrations would keep those from ever running.
    """
    durable, bus = host_json.durable, host_json.bus
    wanted = durable.activities + durable.orchestrators + durable.entities
    wanted += max(bus.max_concurrent_calls, bus.max_concurrent_sessions * bus.max_calls_per_session)
    return min(wanted + _THREADS_FOR_HTTP, _MOST_THREADS)
