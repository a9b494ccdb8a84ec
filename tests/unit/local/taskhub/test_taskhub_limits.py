"""What is too large or too long: split where it can be, refused by name where it cannot."""

from collections.abc import AsyncIterator
from pathlib import Path

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
import pytest
from taskhub_scripted import ScriptedWorker, complete, kinds, start, state, turn

from aos.local.taskhub import HubError, TaskHub

GRPC_DEFAULT = 4 * 1024 * 1024  # what a channel takes that was given no larger limit
LARGE = "x" * 1_500_000
LONG_ID = "i" * 101


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TaskHub]:
    made = await TaskHub.open(tmp_path / "hub.db")
    yield made
    await made.close()


def sends(message: pb.SendEntityMessageAction) -> pb.OrchestratorAction:
    return pb.OrchestratorAction(id=1, sendEntityMessage=message)


def calls(entity_id: str) -> pb.OrchestratorAction:
    called = pb.EntityOperationCalledEvent(requestId="r", targetInstanceId={"value": entity_id})
    return sends(pb.SendEntityMessageAction(entityOperationCalled=called))


async def test_messages_come_in_as_many_turns_as_a_channel_needs(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    for n in range(4):
        await hub.raise_event(pb.RaiseEventRequest(instanceId="i", name=str(n), input={"value": LARGE}))
    seen = []
    while len(seen) < 4:
        item = await worker.take()
        assert len(item.orchestratorRequest.newEvents) > 1  # that of the turn, and one at least
        assert sum(event.ByteSize() for event in item.orchestratorRequest.newEvents) < GRPC_DEFAULT
        seen += [e.eventRaised.name for e in item.orchestratorRequest.newEvents if e.HasField("eventRaised")]
        await hub.complete_orchestrator(turn(item))
    assert seen == ["0", "1", "2", "3"]


async def test_operations_come_in_as_many_batches_as_a_channel_needs(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    for n in range(4):
        await hub.signal_entity(
            pb.SignalEntityRequest(instanceId="@e@k", name=str(n), input={"value": LARGE})
        )
    seen = []
    while len(seen) < 4:
        item = await worker.take()
        assert item.ByteSize() < GRPC_DEFAULT
        operations = item.entityRequest.operations
        seen += [operation.operation for operation in operations]
        done = pb.OperationResult(success=pb.OperationResultSuccess())
        await hub.complete_entity(
            pb.EntityBatchResult(results=[done] * len(operations), completionToken=item.completionToken)
        )
    assert seen == ["0", "1", "2", "3"]


async def test_pages_and_chunks_are_no_larger_than_a_channel_takes(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    for n in range(4):
        request = pb.CreateInstanceRequest(instanceId=f"i{n}", name="o", input={"value": LARGE})
        await hub.start_instance(request)
        await hub.signal_entity(pb.SignalEntityRequest(instanceId=f"@e@{n}", name="op"))
        for item in (await worker.take(), await worker.take()):
            if item.HasField("entityRequest"):
                done = pb.OperationResult(success=pb.OperationResultSuccess())
                await hub.complete_entity(
                    pb.EntityBatchResult(
                        results=[done], entityState={"value": LARGE}, completionToken=item.completionToken
                    )
                )
            else:
                await hub.complete_orchestrator(turn(item, complete(LARGE)))
    ids, entities = [], []
    instance_query = pb.InstanceQuery(fetchInputsAndOutputs=True)
    while True:
        page = await hub.query_instances(pb.QueryInstancesRequest(query=instance_query))
        assert page.ByteSize() < GRPC_DEFAULT
        ids += [each.instanceId for each in page.orchestrationState]
        if not page.HasField("continuationToken"):
            break
        instance_query.continuationToken.CopyFrom(page.continuationToken)
    entity_query = pb.EntityQuery(includeState=True)
    while True:
        found = await hub.query_entities(pb.QueryEntitiesRequest(query=entity_query))
        assert found.ByteSize() < GRPC_DEFAULT
        entities += [each.instanceId for each in found.entities]
        if not found.HasField("continuationToken"):
            break
        entity_query.continuationToken.CopyFrom(found.continuationToken)
    chunks = [c async for c in hub.stream_instance_history(pb.StreamInstanceHistoryRequest(instanceId="i0"))]
    assert ids == [f"i{n}" for n in range(4)]
    assert entities == [f"@e@{n}" for n in range(4)]
    assert max(chunk.ByteSize() for chunk in chunks) < GRPC_DEFAULT
    assert kinds(event for chunk in chunks for event in chunk.events) == [
        "orchestratorStarted", "executionStarted", "executionCompleted",
    ]  # fmt: skip


async def test_work_that_may_have_been_too_large_for_its_worker_is_named(
    hub: TaskHub, caplog: pytest.LogCaptureFixture
) -> None:
    for name, payload in (("large", LARGE * 3), ("small", "x")):
        request = pb.CreateInstanceRequest(instanceId=name, name="o", input={"value": payload})
        await hub.start_instance(request)
    worker = ScriptedWorker(hub)
    await worker.take()
    await worker.take()
    await worker.close()
    (warning,) = caplog.messages
    assert "instance 'large'" in warning
    assert "grpc.max_receive_message_length" in warning


@pytest.mark.parametrize(
    ("entity_id", "why"), [("plain", "@name@key"), ("@no-key", "@name@key"), ("@e@" + LONG_ID, "up to 100")]
)
async def test_an_id_that_no_entity_has_is_refused_and_fails_the_turn_that_uses_it(
    hub: TaskHub, entity_id: str, why: str
) -> None:
    with pytest.raises(HubError, match=why) as refusal:
        await hub.signal_entity(pb.SignalEntityRequest(instanceId=entity_id, name="op"))
    assert refusal.value.code is grpc.StatusCode.INVALID_ARGUMENT
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    await hub.complete_orchestrator(turn(await worker.take(), calls(entity_id)))
    assert why in (await state(hub, "i")).failureDetails.errorMessage


async def test_longer_ids_are_taken_by_a_hub_that_is_opened_for_them(tmp_path: Path) -> None:
    hub = await TaskHub.open(tmp_path / "long.db", longest_id=256)
    await start(hub, "i" * 256)
    await hub.signal_entity(pb.SignalEntityRequest(instanceId="@e@" + LONG_ID, name="op"))
    with pytest.raises(HubError, match="up to 256"):
        await start(hub, "i" * 257)
    await hub.close()


@pytest.mark.parametrize("child", ["@e@k", LONG_ID])
async def test_a_child_whose_id_cannot_be_fails_as_a_task(hub: TaskHub, child: str) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    wanted = pb.CreateSubOrchestrationAction(instanceId=child, name="o")
    action = pb.OrchestratorAction(id=1, createSubOrchestration=wanted)
    await hub.complete_orchestrator(turn(await worker.take(), action))
    told = (await worker.take()).orchestratorRequest.newEvents[1].subOrchestrationInstanceFailed
    assert child in told.failureDetails.errorMessage


async def test_what_an_entity_sends_to_nowhere_is_named_and_keeps_nothing_else_back(
    hub: TaskHub, caplog: pytest.LogCaptureFixture
) -> None:
    worker = ScriptedWorker(hub)
    await hub.signal_entity(pb.SignalEntityRequest(instanceId="@e@k", name="op"))
    actions = [
        pb.OperationAction(sendSignal=pb.SendSignalAction(instanceId=target, name="op"))
        for target in ("@e@" + LONG_ID, "@e@next")
    ]
    result = pb.EntityBatchResult(
        results=[pb.OperationResult(success=pb.OperationResultSuccess())],
        actions=actions,
        completionToken=(await worker.take()).completionToken,
    )
    await hub.complete_entity(result)
    assert (await worker.take()).entityRequest.instanceId == "@e@next"
    assert LONG_ID in caplog.text
