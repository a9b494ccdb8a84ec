"""How long a worker may keep what it took, and what becomes of it then."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import durabletask.internal.orchestrator_service_pb2 as pb
import pytest
from taskhub_scripted import ManualClock, ScriptedWorker, complete, schedule, start, state, turn

from aos.local.taskhub import TaskHub
from aos.local.taskhub.dispatch import LEASE_S

LEASE = timedelta(seconds=LEASE_S)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def hub(tmp_path: Path, clock: ManualClock) -> AsyncIterator[TaskHub]:
    made = await TaskHub.open(tmp_path / "hub.db", clock=clock)
    yield made
    await made.close()


def one_at_a_time() -> pb.GetWorkItemsRequest:
    return pb.GetWorkItemsRequest(maxConcurrentOrchestrationWorkItems=1)


async def output(hub: TaskHub, instance_id: str) -> str:
    return (await state(hub, instance_id)).output.value


async def test_a_turn_that_a_worker_sits_on_goes_to_another_whose_answer_counts(
    hub: TaskHub, clock: ManualClock
) -> None:
    hung, other = ScriptedWorker(hub), ScriptedWorker(hub)
    await start(hub, "i")
    late = await hung.take()
    clock.advance(LEASE)
    current = await other.take()
    await hub.complete_orchestrator(turn(late, complete("late")))
    await hub.complete_orchestrator(turn(current, complete("right")))
    assert await output(hub, "i") == "right"


async def test_a_batch_of_operations_that_a_worker_sits_on_goes_to_another(
    hub: TaskHub, clock: ManualClock
) -> None:
    hung, other = ScriptedWorker(hub), ScriptedWorker(hub)
    await hub.signal_entity(pb.SignalEntityRequest(instanceId="@e@k", name="op"))
    late = await hung.take()
    clock.advance(LEASE)
    current = await other.take()
    for item, became in ((late, "late"), (current, "right")):
        await hub.complete_entity(
            pb.EntityBatchResult(
                results=[pb.OperationResult(success=pb.OperationResultSuccess())],
                entityState={"value": became},
                completionToken=item.completionToken,
            )
        )
    found = await hub.get_entity(pb.GetEntityRequest(instanceId="@e@k", includeState=True))
    assert found.entity.serializedState.value == "right"


async def test_a_late_answer_counts_while_no_other_worker_has_taken_the_work(
    hub: TaskHub, clock: ManualClock
) -> None:
    only = ScriptedWorker(hub)
    await start(hub, "i")
    slow = await only.take()
    clock.advance(LEASE * 3)
    await hub.complete_orchestrator(turn(slow, complete("slow")))
    assert await output(hub, "i") == "slow"
    assert await only.nothing_comes()


async def test_a_worker_is_not_offered_again_what_it_is_overdue_with(
    hub: TaskHub, clock: ManualClock
) -> None:
    only = ScriptedWorker(hub)
    await start(hub, "i")
    await only.take()
    clock.advance(LEASE)
    await start(hub, "next")
    assert (await only.take()).orchestratorRequest.instanceId == "next"
    assert await only.nothing_comes()


async def test_a_hung_worker_gets_no_more_than_it_has_places_until_it_answers(
    hub: TaskHub, clock: ManualClock
) -> None:
    hung, other = ScriptedWorker(hub, one_at_a_time()), ScriptedWorker(hub, one_at_a_time())
    await start(hub, "i")
    late = await hung.take()
    clock.advance(LEASE)
    current = await other.take()
    await start(hub, "next")
    await hub.complete_orchestrator(turn(late, complete("late")))
    assert (await hung.take()).orchestratorRequest.instanceId == "next"
    await hub.complete_orchestrator(turn(current, complete("right")))
    assert await output(hub, "i") == "right"


async def test_a_part_of_an_answer_begins_the_lease_anew(hub: TaskHub, clock: ManualClock) -> None:
    busy, other = ScriptedWorker(hub), ScriptedWorker(hub)
    await start(hub, "i")
    item = await busy.take()
    clock.advance(LEASE / 2)
    await hub.complete_orchestrator(turn(item, schedule(1), isPartial=True))
    clock.advance(LEASE * 3 / 4)
    assert await other.nothing_comes()


async def test_work_that_was_overdue_has_twice_the_time_with_the_next_worker(
    hub: TaskHub, clock: ManualClock
) -> None:
    first, second, third = (ScriptedWorker(hub) for _ in range(3))
    await start(hub, "i")
    await first.take()
    clock.advance(LEASE)
    item = await second.take()
    clock.advance(LEASE * 3 / 2)
    assert await third.nothing_comes()
    await hub.complete_orchestrator(turn(item, complete("slow")))
    assert await output(hub, "i") == "slow"


async def test_an_activity_may_take_as_long_as_it_takes(hub: TaskHub, clock: ManualClock) -> None:
    worker, other = ScriptedWorker(hub), ScriptedWorker(hub)
    await start(hub, "i")
    await hub.complete_orchestrator(turn(await worker.take(), schedule(1)))
    await worker.take()
    clock.advance(timedelta(days=1))
    assert await other.nothing_comes()
