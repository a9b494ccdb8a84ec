"""What much work costs: time that grows with the work and no faster, and no memory once it is done."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import durabletask.internal.orchestrator_service_pb2 as pb
import pytest
from taskhub_scripted import WAIT_S, ScriptedWorker, complete, schedule, start, state, turn

from aos.local.taskhub import TaskHub


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TaskHub]:
    made = await TaskHub.open(tmp_path / "hub.db")
    yield made
    await made.close()


async def answer(hub: TaskHub, item: pb.WorkItem) -> None:
    task = item.activityRequest.taskId
    await hub.complete_activity(pb.ActivityResponse(taskId=task, completionToken=item.completionToken))


async def fan_out(hub: TaskHub, worker: ScriptedWorker, width: int) -> float:
    """Run one instance with so many activities; the CPU time of this process for each, in seconds."""
    name = f"fan-{width}"
    await start(hub, name)
    began = time.process_time()
    await hub.complete_orchestrator(turn(await worker.take(), *(schedule(n) for n in range(width))))
    answers = []
    done = 0
    while done < width:
        item = await worker.take()
        if item.HasField("activityRequest"):
            answers.append(asyncio.create_task(answer(hub, item)))
        else:
            done += len(item.orchestratorRequest.newEvents) - 1
            await hub.complete_orchestrator(turn(item, *([complete()] if done == width else [])))
    await asyncio.gather(*answers)
    assert (await state(hub, name)).orchestrationStatus == pb.ORCHESTRATION_STATUS_COMPLETED
    return (time.process_time() - began) / width


async def steps(hub: TaskHub, worker: ScriptedWorker, count: int) -> None:
    """Run one instance of so many activities one after the other."""
    await start(hub, f"steps-{count}")
    for number in range(count):
        await hub.complete_orchestrator(turn(await worker.take(), schedule(number)))
        await answer(hub, await worker.take())
    await hub.complete_orchestrator(turn(await worker.take(), complete()))


async def test_a_wider_fan_out_costs_no_more_for_each_activity(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await fan_out(hub, worker, 100)
    narrow = await fan_out(hub, worker, 200)
    assert await fan_out(hub, worker, 2000) < 4 * narrow


async def test_ended_instances_leave_nothing_in_memory(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await fan_out(hub, worker, 200)
    await steps(hub, worker, 50)
    await worker.close()
    held = hub._engine.state
    async with asyncio.timeout(WAIT_S):
        while held._instances or held._history_bytes or held.activities or hub._engine.dispatcher.leases:
            await asyncio.sleep(0.01)


async def test_thousands_of_operations_wait_for_a_locked_entity_at_no_cost(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "holder")
    lock = pb.EntityLockRequestedEvent(criticalSectionId="s", lockSet=["@e@k"])
    message = pb.SendEntityMessageAction(entityLockRequested=lock)
    action = pb.OrchestratorAction(id=1, sendEntityMessage=message)
    await hub.complete_orchestrator(turn(await worker.take(), action))
    granted = await worker.take()
    began = time.process_time()
    signal = pb.SignalEntityRequest(instanceId="@e@k", name="op")
    await asyncio.gather(*(hub.signal_entity(signal) for _ in range(5000)))
    assert time.process_time() - began < 5
    assert await ScriptedWorker(hub).nothing_comes()
    await hub.complete_orchestrator(turn(granted, complete()))
    assert (await worker.take()).entityRequest.operations
