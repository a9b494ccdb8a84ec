"""What much work costs: as much for each piece as little work does, and no memory once it is done.

Cost is what the hub's code does, counted: calls of its functions and rounds of its loops. No clock is asked.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType

import durabletask.internal.orchestrator_service_pb2 as pb
import pytest
from taskhub_scripted import WAIT_S, ScriptedWorker, complete, schedule, start, state, turn

import aos.local.taskhub
from aos.local.taskhub import TaskHub

PACKAGE = str(Path(aos.local.taskhub.__file__).parent)
TOOL = 3  # an id of sys.monitoring's that debuggers, profilers and coverage leave free
EVENTS = sys.monitoring.events
COUNTED = (EVENTS.PY_START, EVENTS.PY_RESUME, EVENTS.BRANCH)

# Work is cut into groups by chance, so that counts differ a little. A cost that grew with the amount of
# work would be the tenfold here.
TOLERANCE = 1.5


class Count:
    """What the hub's code did while counted."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self, code: CodeType, *_: object) -> object:
        if not code.co_filename.startswith(PACKAGE):
            return sys.monitoring.DISABLE
        self.done += 1
        return None


@contextmanager
def counted() -> Iterator[Count]:
    count = Count()
    sys.monitoring.use_tool_id(TOOL, "taskhub-scale")
    try:
        for event in COUNTED:
            sys.monitoring.register_callback(TOOL, event, count)
        sys.monitoring.set_events(TOOL, sum(COUNTED))
        yield count
    finally:
        sys.monitoring.set_events(TOOL, 0)
        sys.monitoring.free_tool_id(TOOL)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TaskHub]:
    made = await TaskHub.open(tmp_path / "hub.db")
    yield made
    await made.close()


async def answer(hub: TaskHub, item: pb.WorkItem) -> None:
    task = item.activityRequest.taskId
    await hub.complete_activity(pb.ActivityResponse(taskId=task, completionToken=item.completionToken))


async def fan_out(hub: TaskHub, worker: ScriptedWorker, width: int) -> float:
    """Run one instance with so many activities; what the hub does for each of them."""
    name = f"fan-{width}"
    with counted() as count:
        await start(hub, name)
        await hub.complete_orchestrator(turn(await worker.take(), *(schedule(n) for n in range(width))))
        items = [await worker.take() for _ in range(width)]
        await asyncio.gather(*(answer(hub, item) for item in items))
        done = 0
        while done < width:
            item = await worker.take()
            done += len(item.orchestratorRequest.newEvents) - 1
            await hub.complete_orchestrator(turn(item, *([complete()] if done == width else [])))
    assert (await state(hub, name)).orchestrationStatus == pb.ORCHESTRATION_STATUS_COMPLETED
    return count.done / width


async def steps(hub: TaskHub, worker: ScriptedWorker, numbers: range) -> None:
    """Run activities one after the other."""
    for number in numbers:
        await hub.complete_orchestrator(turn(await worker.take(), schedule(number)))
        await answer(hub, await worker.take())


async def signals(hub: TaskHub, entity_id: str, count: int) -> float:
    """Send so many operations; what each of them costs."""
    signal = pb.SignalEntityRequest(instanceId=entity_id, name="op")
    with counted() as counting:
        await asyncio.gather(*(hub.signal_entity(signal) for _ in range(count)))
    return counting.done / count


async def test_a_wider_fan_out_costs_no_more_for_each_activity(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    narrow = await fan_out(hub, worker, 200)
    assert narrow > 10  # it does count
    assert await fan_out(hub, worker, 2000) < TOLERANCE * narrow


async def test_a_late_step_of_a_long_run_costs_no_more_than_an_early_one(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    with counted() as early:
        await steps(hub, worker, range(20))
    await steps(hub, worker, range(20, 700))
    with counted() as late:
        await steps(hub, worker, range(700, 720))
    assert late.done < TOLERANCE * early.done


async def test_an_operation_costs_no_more_where_thousands_wait_for_a_locked_entity(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "holder")
    lock = pb.EntityLockRequestedEvent(criticalSectionId="s", lockSet=["@e@k"])
    message = pb.SendEntityMessageAction(entityLockRequested=lock)
    action = pb.OrchestratorAction(id=1, sendEntityMessage=message)
    await hub.complete_orchestrator(turn(await worker.take(), action))
    granted = await worker.take()
    first = await signals(hub, "@e@k", 200)
    await signals(hub, "@e@k", 2000)
    assert await signals(hub, "@e@k", 200) < TOLERANCE * first
    assert await ScriptedWorker(hub).nothing_comes()
    await hub.complete_orchestrator(turn(granted, complete()))
    assert (await worker.take()).entityRequest.operations


async def test_a_message_costs_no_more_where_thousands_wait_for_a_suspended_instance(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    await hub.complete_orchestrator(turn(await worker.take()))
    await hub.suspend_instance(pb.SuspendRequest(instanceId="i"))
    await hub.complete_orchestrator(turn(await worker.take()))

    async def events(count: int) -> float:
        event = pb.RaiseEventRequest(instanceId="i", name="e")
        with counted() as counting:
            await asyncio.gather(*(hub.raise_event(event) for _ in range(count)))
        return counting.done / count

    first = await events(200)
    await events(2000)
    assert await events(200) < TOLERANCE * first


async def test_ended_instances_leave_nothing_in_memory(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await fan_out(hub, worker, 200)
    await start(hub, "i")
    await steps(hub, worker, range(50))
    await hub.complete_orchestrator(turn(await worker.take(), complete()))
    await worker.close()
    held = hub._engine.state
    async with asyncio.timeout(WAIT_S):
        while held._instances or held._history_bytes or held.activities or hub._engine.dispatcher.leases:
            await asyncio.sleep(0.01)
