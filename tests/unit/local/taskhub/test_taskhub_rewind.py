"""What entities owe to a caller that failed, or is being rewound."""

from collections.abc import AsyncIterator
from pathlib import Path

import durabletask.internal.orchestrator_service_pb2 as pb
import pytest
from taskhub_scripted import ScriptedWorker, kinds, start, state, turn

from aos.local.taskhub import TaskHub


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TaskHub]:
    made = await TaskHub.open(tmp_path / "hub.db")
    yield made
    await made.close()


def call() -> pb.OrchestratorAction:
    called = pb.EntityOperationCalledEvent(requestId="r", operation="op", targetInstanceId={"value": "@e@k"})
    return pb.OrchestratorAction(
        id=1, sendEntityMessage=pb.SendEntityMessageAction(entityOperationCalled=called)
    )


def lock() -> pb.OrchestratorAction:
    wanted = pb.EntityLockRequestedEvent(criticalSectionId="section", lockSet=["@e@k"])
    return pb.OrchestratorAction(
        id=2, sendEntityMessage=pb.SendEntityMessageAction(entityLockRequested=wanted)
    )


def fail() -> pb.OrchestratorAction:
    ends = pb.CompleteOrchestrationAction(
        orchestrationStatus=pb.ORCHESTRATION_STATUS_FAILED, failureDetails={"errorType": "E"}
    )
    return pb.OrchestratorAction(id=9, completeOrchestration=ends)


def rewritten(item: pb.WorkItem) -> pb.OrchestratorResponse:
    """What an SDK answers to a rewind: the history without its end, under a new execution."""
    request = item.orchestratorRequest
    history = [*request.pastEvents, *request.newEvents]
    kept = [event for event in history if not event.HasField("executionCompleted")]
    for event in kept:
        if event.HasField("executionStarted"):
            event.executionStarted.orchestrationInstance.executionId.value = "rewound"
    action = pb.RewindOrchestrationAction(newHistory=kept)
    return turn(item, pb.OrchestratorAction(id=0, rewindOrchestration=action))


async def answer(hub: TaskHub, batch: pb.WorkItem) -> None:
    done = pb.OperationResult(success=pb.OperationResultSuccess(result={"value": "7"}))
    await hub.complete_entity(pb.EntityBatchResult(results=[done], completionToken=batch.completionToken))


async def calls_and_fails(hub: TaskHub, worker: ScriptedWorker) -> pb.WorkItem:
    """An instance that failed while an entity works for it; the entity's batch."""
    await start(hub, "i")
    await hub.complete_orchestrator(turn(await worker.take(), call(), fail()))
    return await worker.take()


async def rewind(hub: TaskHub) -> None:
    await hub.rewind_instance(pb.RewindInstanceRequest(instanceId="i"))


async def events_of(worker: ScriptedWorker) -> list[str]:
    request = (await worker.take()).orchestratorRequest
    return kinds([*request.pastEvents, *request.newEvents])


async def test_an_answer_to_a_failed_caller_is_there_after_the_rewind(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await answer(hub, await calls_and_fails(hub, worker))
    assert (await state(hub, "i")).orchestrationStatus == pb.ORCHESTRATION_STATUS_FAILED
    await rewind(hub)
    await hub.complete_orchestrator(rewritten(await worker.take()))
    assert (await events_of(worker)).count("entityOperationCompleted") == 1


async def test_an_answer_during_the_rewind_outlives_a_restart(hub: TaskHub, tmp_path: Path) -> None:
    worker = ScriptedWorker(hub)
    batch = await calls_and_fails(hub, worker)
    await rewind(hub)
    rewinding = await worker.take()
    await answer(hub, batch)
    await hub.complete_orchestrator(rewritten(rewinding))
    await hub.close()
    again = await TaskHub.open(tmp_path / "hub.db")
    assert (await events_of(ScriptedWorker(again))).count("entityOperationCompleted") == 1
    await again.close()


async def test_an_answer_after_the_rewind_reaches_the_new_execution(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    batch = await calls_and_fails(hub, worker)
    await rewind(hub)
    await hub.complete_orchestrator(rewritten(await worker.take()))
    marked = await worker.take()
    await answer(hub, batch)
    await hub.complete_orchestrator(turn(marked))
    assert (await events_of(worker)).count("entityOperationCompleted") == 1


async def test_a_lock_that_was_waited_for_is_granted_after_the_rewind(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    await hub.complete_orchestrator(turn(await worker.take(), lock(), fail()))
    await rewind(hub)
    await hub.complete_orchestrator(rewritten(await worker.take()))
    assert "entityLockGranted" in await events_of(worker)
