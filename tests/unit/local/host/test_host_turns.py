"""An orchestration that a worker keeps between its turns answers each as one that is replayed."""

import asyncio
import importlib.metadata
import json
import re
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
import pytest
from durabletask.entities import EntityContext, EntityInstanceId
from durabletask.task import OrchestrationContext, RetryPolicy, TaskFailedError, when_all, when_any

from aos.local.host.worker.kept import Kept
from aos.local.host.worker.programs import Alive, EntityProgram, Orchestrator
from aos.local.host.worker.sdkversions import KNOWN
from aos.local.taskhub import TaskHub
from aos.local.taskhub.dispatch import Lease
from aos.local.taskhub.records import Activity, Entity, Instance
from aos.local.taskhub.workitems import batch_request, next_turn_request, turn_request

type Yields = Generator[Any, Any, Any]

ROOT = Path(__file__).parents[4]
WAIT_S = 40


def chain(context: OrchestrationContext, count: int) -> Yields:
    for number in range(count):
        context.set_custom_status(f"at {number}")
        count = yield context.call_activity("double", input=number)
    return [count, context.new_uuid(), context.current_utc_datetime.isoformat()]


def fan(context: OrchestrationContext, count: int) -> Yields:
    tasks = [context.call_activity("double", input=number) for number in range(count)]
    first = yield when_any(tasks)
    rest = yield when_all(tasks)
    return [first in tasks, rest]


def timers(context: OrchestrationContext, _: None) -> Yields:
    slow = context.create_timer(timedelta(hours=1))
    for _ in range(3):
        fast = context.create_timer(timedelta(milliseconds=5))
        assert (yield when_any([fast, slow])) is fast
    return "in time"


def retried(context: OrchestrationContext, _: None) -> Yields:
    policy = RetryPolicy(first_retry_interval=timedelta(milliseconds=5), max_number_of_attempts=3)
    try:
        yield context.call_activity("fail", input="again", retry_policy=policy)
    except TaskFailedError as error:
        yield context.call_activity("double", input=2)
        return str(error)


def listening(context: OrchestrationContext, _: None) -> Yields:
    heard = []
    for name in ("A", "b", "a", "B"):
        heard.append((yield context.wait_for_external_event(name)))
    return heard


def parent(context: OrchestrationContext, count: int) -> Yields:
    one = yield context.call_sub_orchestrator("chain", input=count)
    both = yield when_all([context.call_sub_orchestrator("fan", input=each) for each in (2, 3)])
    return [one[0], both]


def careful(context: OrchestrationContext, _: None) -> Yields:
    ids = [EntityInstanceId("counter", key) for key in ("x", "y")]
    for _ in range(2):
        with (yield context.lock_entities(ids)):
            for each in ids:
                yield context.call_entity(each, "add", 1)
    context.signal_entity(ids[0], "add", 5)
    try:
        yield context.call_entity(ids[1], "spoil")
    except Exception as error:  # noqa: BLE001 - what it is does not matter here
        return [str(error), (yield context.call_entity(ids[0], "add", 0))]


def again(context: OrchestrationContext, left: int) -> Yields:
    yield context.call_activity("double", input=left)
    yield context.wait_for_external_event("go")
    if left:
        context.continue_as_new(left - 1, save_events=True)
        return None
    return "over"


def failing(context: OrchestrationContext, count: int) -> Yields:
    for number in range(count):
        yield context.call_activity("double", input=number)
    raise ValueError("on purpose")


def counter(context: EntityContext, value: int) -> int:
    if context.operation == "spoil":
        raise RuntimeError("spoilt")
    total = context.get_state(int, 0) + value
    context.set_state(total)
    return total


FUNCTIONS: list[Callable[..., Any]] = [
    chain, fan, timers, retried, listening, parent, careful, again, failing,
]  # fmt: skip


class Pump:
    """Runs all work of a hub; a turn both by replay and, where the orchestration is kept, without."""

    def __init__(self, hub: TaskHub) -> None:
        self.hub = hub
        self.running = asyncio.create_task(self._run())
        self._orchestrators = {each.__name__: Orchestrator(each) for each in FUNCTIONS}
        self._entity = EntityProgram(counter)
        self._kept = Kept()
        self.went_on = 0

    async def _run(self) -> None:
        async with aclosing(self.hub.leases(pb.GetWorkItemsRequest())) as leases:
            async for lease in leases:
                assert lease is not None
                match lease.item:
                    case Instance() as instance:
                        self._turn(lease, instance)
                    case Activity() as activity:
                        self.hub.post_activity(_activity(lease, activity))
                    case Entity() as entity:
                        result = self._entity.batch(batch_request(lease, entity))
                        batch = pb.EntityBatchResult.FromString(result)
                        batch.completionToken = lease.token
                        self.hub.post_entity(batch)

    def _turn(self, lease: Lease, instance: Instance) -> None:
        whole = b"".join(turn_request(lease, instance))
        replayed, alive = self._orchestrators[instance.name].turn(whole)
        if instance.kept is not None:
            before = self._kept.take(instance.id, instance.kept.after)
            assert before is not None
            body = b"".join(next_turn_request(lease, instance, instance.kept))
            response, went_on = before.alive.go_on(body)
            assert _without_traceback(response) == _without_traceback(replayed)
            assert (went_on is None) == (alive is None)
            alive = went_on
            self.went_on += 1
        if alive is not None:
            lease.keeper = self
            self._kept.keep(instance.id, lease.token, alive, len(whole))
        answer = pb.OrchestratorResponse.FromString(replayed)
        answer.completionToken = lease.token
        self.hub.post_turn(answer)


def _without_traceback(response: bytes) -> pb.OrchestratorResponse:
    answer = pb.OrchestratorResponse.FromString(response)
    for action in answer.actions:
        action.completeOrchestration.failureDetails.ClearField("stackTrace")
    return answer


def _activity(lease: Lease, activity: Activity) -> pb.ActivityResponse:
    request = pb.ActivityRequest.FromString(activity.request)
    response = pb.ActivityResponse(
        instanceId=activity.instance, taskId=activity.task, completionToken=lease.token
    )
    if activity.name == "fail":
        response.failureDetails.errorType = "ValueError"
        response.failureDetails.errorMessage = request.input.value
    else:
        response.result.value = json.dumps(json.loads(request.input.value) * 2)
    return response


@pytest.fixture
async def pump(tmp_path: Path) -> AsyncIterator[Pump]:
    hub = await TaskHub.open(tmp_path / "hub.db")
    pump = Pump(hub)
    yield pump
    pump.running.cancel()
    await asyncio.wait([pump.running])
    await hub.close()


async def start(hub: TaskHub, name: str, given: Any) -> str:
    request = pb.CreateInstanceRequest(name=name, input={"value": json.dumps(given)})
    return (await hub.start_instance(request)).instanceId


async def ended(pump: Pump, instance_id: str) -> pb.OrchestrationState:
    request = pb.GetInstanceRequest(instanceId=instance_id, getInputsAndOutputs=True)
    waiting = asyncio.create_task(pump.hub.wait_for_instance_completion(request))
    await asyncio.wait([waiting, pump.running], timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
    if pump.running.done():
        pump.running.result()
    assert waiting.done()
    return waiting.result().orchestrationState


async def tell(hub: TaskHub, instance_id: str, name: str, data: Any = None) -> None:
    request = pb.RaiseEventRequest(instanceId=instance_id, name=name, input={"value": json.dumps(data)})
    await hub.raise_event(request)


@pytest.mark.parametrize(
    ("name", "given", "output"),
    [
        ("chain", 9, r"\[16, .*"),
        ("fan", 7, r"\[true, \[0, 2, 4, 6, 8, 10, 12\]\]"),
        ("timers", None, '"in time"'),
        ("retried", None, ".*again.*"),
        ("parent", 4, r"\[6, \[\[true, \[0, 2\]\], \[true, \[0, 2, 4\]\]\]\]"),
        ("careful", None, r'\[".*spoilt.*", 7\]'),
    ],
)
async def test_each_turn_is_answered_as_by_a_replay(pump: Pump, name: str, given: Any, output: str) -> None:
    hub = pump.hub
    state = await ended(pump, await start(hub, name, given))
    assert state.orchestrationStatus == pb.ORCHESTRATION_STATUS_COMPLETED, state
    assert re.fullmatch(output, state.output.value), state.output.value
    assert pump.went_on > 1


async def test_events_reach_a_kept_orchestration_in_their_order_also_over_a_suspension(pump: Pump) -> None:
    hub = pump.hub
    instance_id = await start(hub, "listening", None)
    for number, name in enumerate(("a", "B")):
        await tell(hub, instance_id, name, number)
    await hub.suspend_instance(pb.SuspendRequest(instanceId=instance_id))
    await tell(hub, instance_id, "A", 2)
    await hub.resume_instance(pb.ResumeRequest(instanceId=instance_id))
    await tell(hub, instance_id, "b", 3)
    state = await ended(pump, instance_id)
    assert state.output.value == "[0, 1, 2, 3]"


async def test_a_renewed_orchestration_begins_anew_with_the_events_it_kept(pump: Pump) -> None:
    hub = pump.hub
    instance_id = await start(hub, "again", 3)
    for _ in range(4):
        await tell(hub, instance_id, "go")
    state = await ended(pump, instance_id)
    assert state.output.value == '"over"'
    assert pump.went_on > 1


async def test_what_a_kept_orchestration_raises_fails_it(pump: Pump) -> None:
    state = await ended(pump, await start(pump.hub, "failing", 3))
    assert state.orchestrationStatus == pb.ORCHESTRATION_STATUS_FAILED
    assert state.failureDetails.errorMessage == "on purpose"
    assert pump.went_on > 1


def test_an_orchestration_is_gone_on_with_only_after_the_turn_that_it_was_kept_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alive: Any = object()
    kept = Kept()
    kept.keep("one", "turn 1", alive, 10)
    entry = kept.take("one", "turn 1")
    assert entry is not None
    assert (entry.alive, entry.size) == (alive, 10)
    assert kept.take("one", "turn 1") is None
    kept.keep("one", "turn 2", alive, 10)
    assert kept.take("one", "turn 1") is None
    assert kept.take("one", "turn 2") is None  # whoever asks for another turn has another history


@pytest.mark.parametrize(
    ("limit", "value"),
    [("_MOST", 2), ("_MOST_BYTES", 25), ("_IDLE_S", -1.0)],
    ids=["number", "bytes", "time"],
)
def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch, limit: str, value: float) -> None:
    monkeypatch.setattr(f"aos.local.host.worker.kept.{limit}", value)
    kept = Kept()
    for name in ("one", "two", "three"):
        kept.keep(name, "a turn", Alive.__new__(Alive), 10)
    assert kept.take("one", "a turn") is None
    assert (kept.take("three", "a turn") is None) == (limit == "_IDLE_S")


def test_the_sdk_whose_internals_are_known_is_the_one_that_is_pinned() -> None:
    pins = (ROOT / "pyproject.toml").read_text()
    for name, version in KNOWN.items():
        assert f'"{name}=={version}"' in pins
        assert importlib.metadata.version(name) == version
