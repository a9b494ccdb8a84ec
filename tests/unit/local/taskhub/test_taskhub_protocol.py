"""What the hub does with each protocol message, seen by a worker that follows a script."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
import pytest
from taskhub_scripted import (
    WAIT_S,
    ManualClock,
    ScriptedWorker,
    complete,
    kinds,
    schedule,
    start,
    state,
    turn,
)

from aos.local.taskhub import HubError, TaskHub


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def hub(tmp_path: Path, clock: ManualClock) -> AsyncIterator[TaskHub]:
    made = await TaskHub.open(tmp_path / "hub.db", clock=clock)
    yield made
    await made.close()


async def test_a_turn_receives_the_whole_history_and_only_what_is_new(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    first = await worker.take()
    assert kinds(first.orchestratorRequest.newEvents) == ["orchestratorStarted", "executionStarted"]
    await hub.complete_orchestrator(turn(first, schedule(1)))
    activity = await worker.take()
    await hub.complete_activity(
        pb.ActivityResponse(
            instanceId="i", taskId=1, result={"value": "7"}, completionToken=activity.completionToken
        )
    )
    second = (await worker.take()).orchestratorRequest
    assert kinds(second.pastEvents) == ["orchestratorStarted", "executionStarted", "taskScheduled"]
    assert kinds(second.newEvents) == ["orchestratorStarted", "taskCompleted"]
    assert second.newEvents[1].taskCompleted.result.value == "7"
    assert second.executionId.value == first.orchestratorRequest.executionId.value


async def test_events_are_numbered_as_the_scheduler_numbers_them(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    await hub.complete_orchestrator(turn(await worker.take(), schedule(1)))
    await hub.complete_activity(pb.ActivityResponse(completionToken=(await worker.take()).completionToken))
    await hub.complete_orchestrator(turn(await worker.take(), complete()))
    wanted = pb.StreamInstanceHistoryRequest(instanceId="i")
    history = [event async for chunk in hub.stream_instance_history(wanted) for event in chunk.events]
    assert [(event.WhichOneof("eventType"), event.eventId) for event in history] == [
        ("orchestratorStarted", -1), ("executionStarted", 0), ("taskScheduled", 1),
        ("orchestratorStarted", -1), ("taskCompleted", -1), ("executionCompleted", 99),
    ]  # fmt: skip


async def test_a_read_sees_what_the_work_handed_out_came_of(hub: TaskHub, tmp_path: Path) -> None:
    slow = sqlite3.connect(tmp_path / "hub.db", isolation_level=None)
    slow.execute("BEGIN IMMEDIATE")  # as a disk that takes its time
    worker = ScriptedWorker(hub)
    starting = asyncio.create_task(start(hub, "i"))
    await worker.take()
    reading = asyncio.create_task(state(hub, "i"))
    listing = asyncio.create_task(hub.query_instances(pb.QueryInstancesRequest()))
    assert await worker.nothing_comes()
    slow.close()
    assert (await reading).instanceId == "i"
    assert len((await listing).orchestrationState) == 1
    await starting


async def test_an_activity_is_handed_out_only_once_its_turn_is_on_disk(hub: TaskHub, tmp_path: Path) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    await hub.complete_orchestrator(turn(await worker.take(), schedule(1)))
    await worker.take()
    await hub.close()
    again = await TaskHub.open(tmp_path / "hub.db")
    assert (await ScriptedWorker(again).take()).activityRequest.taskId == 1
    await again.close()


async def test_only_the_first_completion_of_an_activity_counts(hub: TaskHub) -> None:
    worker, other = ScriptedWorker(hub), ScriptedWorker(hub)
    await start(hub, "i")
    await hub.complete_orchestrator(turn(await worker.take(), schedule(1)))
    first = await worker.take()
    await worker.close()
    second = await other.take()
    for item, result in ((first, "first"), (second, "second")):
        await hub.complete_activity(
            pb.ActivityResponse(
                instanceId="i", taskId=1, result={"value": result}, completionToken=item.completionToken
            )
        )
    events = (await other.take()).orchestratorRequest.newEvents
    assert [event.taskCompleted.result.value for event in events[1:]] == ["first"]
    assert await other.nothing_comes()


async def test_a_response_may_come_in_chunks(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    item = await worker.take()
    first = turn(item, schedule(1), isPartial=True, chunkIndex={"value": 0}, customStatus={"value": "1"})
    await hub.complete_orchestrator(first)
    await hub.complete_orchestrator(first)  # as if its acknowledgement had been lost
    assert (await state(hub, "i")).orchestrationStatus == pb.ORCHESTRATION_STATUS_PENDING
    # As the SDKs have it, a later chunk processes no event.
    last = turn(item, schedule(2), chunkIndex={"value": 1}, numEventsProcessed={"value": 0})
    await hub.complete_orchestrator(last)
    assert [(await worker.take()).activityRequest.taskId for _ in range(2)] == [1, 2]
    assert await worker.nothing_comes()
    assert (await state(hub, "i")).customStatus.value == "1"


async def test_events_that_the_worker_left_come_again(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    await hub.raise_event(pb.RaiseEventRequest(instanceId="i", name="e"))
    item = await worker.take()
    assert kinds(item.orchestratorRequest.newEvents)[1:] == ["executionStarted", "eventRaised"]
    await hub.complete_orchestrator(turn(item, numEventsProcessed={"value": 2}))
    assert kinds((await worker.take()).orchestratorRequest.newEvents)[1:] == ["eventRaised"]


async def test_events_raised_before_a_scheduled_start_come_after_it_in_their_order(
    hub: TaskHub, clock: ManualClock
) -> None:
    worker = ScriptedWorker(hub)
    at = {"seconds": clock.now() // 10**6 + 3600}
    await hub.start_instance(pb.CreateInstanceRequest(instanceId="i", name="o", scheduledStartTimestamp=at))
    for data in ("1", "2"):
        await hub.raise_event(pb.RaiseEventRequest(instanceId="i", name="e", input={"value": data}))
    assert await worker.nothing_comes()
    worker = ScriptedWorker(hub)
    clock.advance(timedelta(hours=1))
    events = (await worker.take()).orchestratorRequest.newEvents
    assert kinds(events)[1:] == ["executionStarted", "eventRaised", "eventRaised"]
    assert [event.eventRaised.input.value for event in events[2:]] == ["1", "2"]


async def test_what_arrives_during_a_turn_that_continues_as_new_reaches_the_next_generation(
    hub: TaskHub,
) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    await hub.complete_orchestrator(turn(await worker.take(), schedule(1)))
    activity = await worker.take()
    await hub.raise_event(pb.RaiseEventRequest(instanceId="i", name="first"))
    item = await worker.take()
    await hub.raise_event(pb.RaiseEventRequest(instanceId="i", name="later"))
    await hub.complete_activity(
        pb.ActivityResponse(instanceId="i", taskId=1, completionToken=activity.completionToken)
    )
    renew = pb.CompleteOrchestrationAction(
        orchestrationStatus=pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW,
        result={"value": "2"},
        carryoverEvents=[pb.HistoryEvent(eventId=-1, eventRaised=pb.EventRaisedEvent(name="kept"))],
    )
    action = pb.OrchestratorAction(id=2, completeOrchestration=renew)
    await hub.complete_orchestrator(turn(item, action))
    request = (await worker.take()).orchestratorRequest
    assert not request.pastEvents
    assert [event.eventRaised.name for event in request.newEvents[2:]] == ["kept", "later"]
    assert request.newEvents[1].executionStarted.input.value == "2"
    assert request.executionId.value != item.orchestratorRequest.executionId.value


async def test_purging_a_tree_takes_descendants_that_are_not_yet_on_disk_and_leaves_live_ones(
    hub: TaskHub,
) -> None:
    worker = ScriptedWorker(hub)

    def child(task: int, instance_id: str) -> pb.OrchestratorAction:
        wanted = pb.CreateSubOrchestrationAction(instanceId=instance_id, name="o")
        return pb.OrchestratorAction(id=task, createSubOrchestration=wanted)

    await start(hub, "root")
    await hub.complete_orchestrator(turn(await worker.take(), child(1, "done"), child(2, "live"), complete()))
    items = {item.orchestratorRequest.instanceId: item for item in [await worker.take(), await worker.take()]}
    await asyncio.gather(
        hub.complete_orchestrator(turn(items["done"], complete())),
        hub.purge_instances(pb.PurgeInstancesRequest(instanceId="root", recursive=True)),
    )
    left = await hub.query_instances(pb.QueryInstancesRequest())
    assert [each.instanceId for each in left.orchestrationState] == ["live"]


async def test_purging_calls_off_the_activities_that_nobody_runs_yet(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    await hub.complete_orchestrator(turn(await worker.take(), schedule(1), schedule(2), complete()))
    running = await worker.take()
    await hub.purge_instances(pb.PurgeInstancesRequest(instanceId="i"))
    assert await worker.nothing_comes()
    done = pb.ActivityResponse(taskId=1, completionToken=running.completionToken)
    await hub.complete_activity(done)
    assert await hub._engine.read(lambda db: db.execute("SELECT count(*) FROM activities").fetchone()) == (0,)


async def test_a_purge_of_orchestrations_takes_no_entity(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await hub.signal_entity(pb.SignalEntityRequest(instanceId="@e@k", name="op"))
    await hub.complete_entity(
        pb.EntityBatchResult(
            results=[pb.OperationResult(success=pb.OperationResultSuccess())],
            entityState={"value": "1"},
            completionToken=(await worker.take()).completionToken,
        )
    )
    request = pb.PurgeInstancesRequest(instanceId="@e@k", isOrchestration=True)
    assert (await hub.purge_instances(request)).deletedInstanceCount == 0
    request.isOrchestration = False
    assert (await hub.purge_instances(request)).deletedInstanceCount == 1


async def test_the_parent_of_a_child_that_is_replaced_is_told(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    wanted = pb.CreateSubOrchestrationAction(instanceId="child", name="o")
    action = pb.OrchestratorAction(id=1, createSubOrchestration=wanted)
    await hub.complete_orchestrator(turn(await worker.take(), action))
    await hub.complete_orchestrator(turn(await worker.take()))
    policy = pb.OrchestrationIdReusePolicy(
        replaceableStatus=[pb.ORCHESTRATION_STATUS_RUNNING, pb.ORCHESTRATION_STATUS_TERMINATED]
    )
    await hub.start_instance(
        pb.CreateInstanceRequest(instanceId="child", name="o", orchestrationIdReusePolicy=policy)
    )
    items = {item.orchestratorRequest.instanceId: item for item in [await worker.take(), await worker.take()]}
    told = items["i"].orchestratorRequest.newEvents[1].subOrchestrationInstanceFailed
    assert told.failureDetails.errorType == "OrchestrationTerminated"
    assert not items["child"].orchestratorRequest.newEvents[1].executionStarted.HasField("parentInstance")


async def test_the_history_of_an_execution_that_is_gone_is_not_found(hub: TaskHub) -> None:
    await start(hub, "i")
    wanted = pb.StreamInstanceHistoryRequest(instanceId="i")
    wanted.executionId.value = (await state(hub, "i")).executionId.value
    assert [chunk async for chunk in hub.stream_instance_history(wanted)] == []
    wanted.executionId.value = "another"
    with pytest.raises(HubError, match="another"):
        await anext(hub.stream_instance_history(wanted))


async def test_a_worker_that_streams_gets_a_long_history_separately(hub: TaskHub) -> None:
    plain = ScriptedWorker(hub)
    await hub.start_instance(
        pb.CreateInstanceRequest(instanceId="i", name="o", input={"value": "x" * 2_000_000})
    )
    await hub.complete_orchestrator(turn(await plain.take()))
    await plain.close()
    worker = ScriptedWorker(
        hub, pb.GetWorkItemsRequest(capabilities=[pb.WORKER_CAPABILITY_HISTORY_STREAMING])
    )
    await hub.raise_event(pb.RaiseEventRequest(instanceId="i", name="e"))
    request = (await worker.take()).orchestratorRequest
    assert request.requiresHistoryStreaming
    assert not request.pastEvents
    wanted = pb.StreamInstanceHistoryRequest(instanceId="i", forWorkItemProcessing=True)
    streamed = [event async for chunk in hub.stream_instance_history(wanted) for event in chunk.events]
    assert kinds(streamed) == ["orchestratorStarted", "executionStarted"]


async def test_closing_a_stream_gives_its_work_to_others_at_once(hub: TaskHub) -> None:
    worker, other = ScriptedWorker(hub), ScriptedWorker(hub)
    await start(hub, "i")
    await worker.take()
    assert await other.nothing_comes()
    await worker.close()
    assert (await ScriptedWorker(hub).take()).orchestratorRequest.instanceId == "i"


async def test_failure_details_tags_and_versions_pass_unchanged(hub: TaskHub) -> None:
    details = pb.TaskFailureDetails(
        errorType="app.Error",
        stackTrace={"value": "at line 1"},
        innerFailure=pb.TaskFailureDetails(errorType="app.Cause", errorMessage="why"),
        isNonRetriable=True,
    )
    details.properties["code"].number_value = 7
    failed = pb.CompleteOrchestrationAction(
        orchestrationStatus=pb.ORCHESTRATION_STATUS_FAILED, failureDetails=details
    )
    fails = pb.OrchestratorAction(id=9, completeOrchestration=failed)
    activity = pb.ScheduleTaskAction(name="act", version={"value": "3"}, tags={"kind": "activity"})
    child = pb.CreateSubOrchestrationAction(
        instanceId="child", name="o", version={"value": "2"}, tags={"kind": "child"}
    )
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    actions = (
        pb.OrchestratorAction(id=1, scheduleTask=activity),
        pb.OrchestratorAction(id=2, createSubOrchestration=child),
    )
    await hub.complete_orchestrator(turn(await worker.take(), *actions))
    items = {item.WhichOneof("request"): item for item in [await worker.take(), await worker.take()]}
    request, started = items["activityRequest"].activityRequest, items["orchestratorRequest"]
    assert (request.version.value, dict(request.tags)) == ("3", {"kind": "activity"})
    origin = started.orchestratorRequest.newEvents[1].executionStarted
    assert (origin.version.value, dict(origin.tags)) == ("2", {"kind": "child"})
    assert origin.parentInstance.orchestrationInstance.instanceId == "i"
    await asyncio.gather(
        hub.complete_activity(
            pb.ActivityResponse(
                taskId=1, failureDetails=details, completionToken=items["activityRequest"].completionToken
            )
        ),
        hub.complete_orchestrator(turn(started, fails)),
    )
    item = await worker.take()
    told = {event.WhichOneof("eventType"): event for event in item.orchestratorRequest.newEvents}
    assert told["taskFailed"].taskFailed.failureDetails == details
    assert told["subOrchestrationInstanceFailed"].subOrchestrationInstanceFailed.failureDetails == details
    await hub.complete_orchestrator(turn(item, fails))
    assert (await state(hub, "i")).failureDetails == details
    assert (await state(hub, "child")).tags["kind"] == "child"


async def test_a_suspended_instance_can_be_terminated(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    await hub.suspend_instance(pb.SuspendRequest(instanceId="i"))
    await hub.complete_orchestrator(turn(await worker.take()))
    assert (await state(hub, "i")).orchestrationStatus == pb.ORCHESTRATION_STATUS_SUSPENDED
    await hub.raise_event(pb.RaiseEventRequest(instanceId="i", name="e"))
    assert await worker.nothing_comes()
    worker = ScriptedWorker(hub)
    await hub.terminate_instance(pb.TerminateRequest(instanceId="i"))
    assert kinds((await worker.take()).orchestratorRequest.newEvents)[1:] == [
        "eventRaised",
        "executionTerminated",
    ]


async def test_a_restart_keeps_the_input_tags_and_version_but_no_parent(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    child = pb.CreateSubOrchestrationAction(
        instanceId="c", name="o", version={"value": "2"}, input={"value": "7"}, tags={"a": "b"}
    )
    action = pb.OrchestratorAction(id=1, createSubOrchestration=child)
    await hub.complete_orchestrator(turn(await worker.take(), action))
    await hub.complete_orchestrator(turn(await worker.take(), complete()))
    await hub.complete_orchestrator(turn(await worker.take()))
    await hub.restart_instance(pb.RestartInstanceRequest(instanceId="c"))
    item = await worker.take()
    origin = item.orchestratorRequest.newEvents[1].executionStarted
    assert (origin.version.value, origin.input.value, dict(origin.tags)) == ("2", "7", {"a": "b"})
    assert not origin.HasField("parentInstance")
    await hub.complete_orchestrator(turn(item, complete()))
    assert await worker.nothing_comes()


async def test_abandoned_work_comes_again(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "a")
    await hub.complete_orchestrator(turn(await worker.take(), schedule(1)))
    await start(hub, "i")
    await hub.signal_entity(pb.SignalEntityRequest(instanceId="@e@k", name="op"))
    taken = [await worker.take() for _ in range(3)]
    for item in taken:
        if item.HasField("entityRequest"):
            await hub.abandon_entity(pb.AbandonEntityTaskRequest(completionToken=item.completionToken))
        elif item.HasField("activityRequest"):
            await hub.abandon_activity(pb.AbandonActivityTaskRequest(completionToken=item.completionToken))
        else:
            await hub.abandon_orchestrator(
                pb.AbandonOrchestrationTaskRequest(completionToken=item.completionToken)
            )
    again = [await worker.take() for _ in range(3)]
    assert {item.WhichOneof("request") for item in again} == {
        "orchestratorRequest", "entityRequest", "activityRequest",
    }  # fmt: skip
    assert {item.completionToken for item in again}.isdisjoint({item.completionToken for item in taken})


async def test_filters_and_limits_decide_what_a_worker_gets(hub: TaskHub) -> None:
    filters = pb.WorkItemFilters(orchestrations=[pb.OrchestrationFilter(name="mine", versions=["2"])])
    picky = ScriptedWorker(
        hub, pb.GetWorkItemsRequest(workItemFilters=filters, maxConcurrentOrchestrationWorkItems=1)
    )
    await start(hub, "other", "theirs")
    for version in ("1", "2", "2"):
        await hub.start_instance(pb.CreateInstanceRequest(name="mine", version={"value": version}))
    request = (await picky.take()).orchestratorRequest
    assert request.newEvents[1].executionStarted.version.value == "2"
    await hub.signal_entity(pb.SignalEntityRequest(instanceId="@theirs@k", name="op"))
    assert await picky.nothing_comes()
    filters = pb.WorkItemFilters(entities=[pb.EntityFilter(name="theirs")])
    other = ScriptedWorker(hub, pb.GetWorkItemsRequest(workItemFilters=filters))
    assert (await other.take()).entityRequest.instanceId == "@theirs@k"
    assert await other.nothing_comes()


async def test_an_activity_without_a_version_is_filtered_by_its_orchestrations(hub: TaskHub) -> None:
    filters = pb.WorkItemFilters(
        orchestrations=[pb.OrchestrationFilter(name="o", versions=["2"])],
        activities=[pb.ActivityFilter(name="act", versions=["2"])],
    )
    worker = ScriptedWorker(hub, pb.GetWorkItemsRequest(workItemFilters=filters))
    await hub.start_instance(pb.CreateInstanceRequest(instanceId="i", name="o", version={"value": "2"}))
    await hub.complete_orchestrator(turn(await worker.take(), schedule(1)))
    request = (await worker.take()).activityRequest
    assert request.name == "act"
    assert not request.HasField("version")


async def test_a_running_instance_can_be_restarted_only_under_a_new_id(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    await hub.complete_orchestrator(turn(await worker.take()))
    with pytest.raises(HubError) as refusal:
        await hub.restart_instance(pb.RestartInstanceRequest(instanceId="i"))
    assert refusal.value.code is grpc.StatusCode.FAILED_PRECONDITION
    again = await hub.restart_instance(
        pb.RestartInstanceRequest(instanceId="i", restartWithNewInstanceId=True)
    )
    assert (await worker.take()).orchestratorRequest.instanceId == again.instanceId != "i"
    assert (await state(hub, "i")).orchestrationStatus == pb.ORCHESTRATION_STATUS_RUNNING


async def test_a_stale_entity_batch_changes_nothing(hub: TaskHub) -> None:
    worker, other = ScriptedWorker(hub), ScriptedWorker(hub)
    await hub.signal_entity(pb.SignalEntityRequest(instanceId="@e@k", name="op"))
    late = await worker.take()
    await worker.close()
    current = await other.take()
    for item, result in ((late, "late"), (current, "current"), (current, "twice")):
        await hub.complete_entity(
            pb.EntityBatchResult(
                results=[pb.OperationResult(success=pb.OperationResultSuccess())],
                entityState={"value": result},
                completionToken=item.completionToken,
            )
        )
    found = await hub.get_entity(pb.GetEntityRequest(instanceId="@e@k", includeState=True))
    assert found.entity.serializedState.value == "current"


async def test_a_batch_that_failed_whole_fails_each_call_and_keeps_the_state(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    call = pb.EntityOperationCalledEvent(requestId="r", operation="op", targetInstanceId={"value": "@e@k"})
    action = pb.OrchestratorAction(
        id=1, sendEntityMessage=pb.SendEntityMessageAction(entityOperationCalled=call)
    )
    await hub.complete_orchestrator(turn(await worker.take(), action))
    batch = await worker.take()
    failure = pb.TaskFailureDetails(errorType="Broken", errorMessage="no entity here")
    await hub.complete_entity(
        pb.EntityBatchResult(failureDetails=failure, completionToken=batch.completionToken)
    )
    answer = (await worker.take()).orchestratorRequest.newEvents[1]
    assert answer.entityOperationFailed.failureDetails.errorType == "Broken"


async def test_a_turn_that_cannot_be_carried_out_fails_its_instance_alone(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "bad")
    lock = pb.EntityLockRequestedEvent(criticalSectionId="s")  # a lock over no entity
    action = pb.OrchestratorAction(
        id=1, sendEntityMessage=pb.SendEntityMessageAction(entityLockRequested=lock)
    )
    await hub.complete_orchestrator(turn(await worker.take(), action))
    assert (await state(hub, "bad")).orchestrationStatus == pb.ORCHESTRATION_STATUS_FAILED
    await start(hub, "good")
    await hub.complete_orchestrator(turn(await worker.take(), complete()))
    assert (await state(hub, "good")).orchestrationStatus == pb.ORCHESTRATION_STATUS_COMPLETED


async def test_a_hub_that_goes_back_to_the_disk_leaves_running_activities_with_their_workers(
    hub: TaskHub,
) -> None:
    worker, other = ScriptedWorker(hub), ScriptedWorker(hub)
    await start(hub, "i")
    await hub.complete_orchestrator(turn(await worker.take(), schedule(1)))
    activity = await worker.take()
    hub._engine.journal.abandon(RuntimeError("as after a failed write"))
    await start(hub, "next")
    following = await other.take()
    assert following.orchestratorRequest.instanceId == "next"
    await hub.complete_orchestrator(turn(following, complete()))
    assert await other.nothing_comes()
    await hub.complete_activity(
        pb.ActivityResponse(instanceId="i", taskId=1, completionToken=activity.completionToken)
    )
    assert kinds((await worker.take()).orchestratorRequest.newEvents)[1:] == ["taskCompleted"]


async def test_histories_pushed_out_of_memory_are_read_back(tmp_path: Path) -> None:
    hub = await TaskHub.open(tmp_path / "hub.db", cache_bytes=0)
    worker = ScriptedWorker(hub)
    for n in range(3):
        await start(hub, f"i{n}")
        await hub.complete_orchestrator(turn(await worker.take()))
    for n in range(3):
        await hub.raise_event(pb.RaiseEventRequest(instanceId=f"i{n}", name="e"))
        item = await worker.take()
        assert kinds(item.orchestratorRequest.pastEvents)[1] == "executionStarted"
        await hub.complete_orchestrator(turn(item, complete(str(n))))
        assert (await state(hub, f"i{n}")).output.value == str(n)
    await hub.close()


async def test_instances_past_their_retention_are_purged(tmp_path: Path) -> None:
    clock = ManualClock()
    hub = await TaskHub.open(tmp_path / "hub.db", clock=clock, retention=timedelta(days=1))
    worker = ScriptedWorker(hub)
    for name in ("ended", "running"):
        await start(hub, name)
        await hub.complete_orchestrator(turn(await worker.take(), *([complete()] if name == "ended" else [])))
    clock.advance(timedelta(hours=23))
    assert (await state(hub, "ended")).instanceId
    clock.advance(timedelta(hours=2))
    async with asyncio.timeout(WAIT_S):
        while (await state(hub, "ended")).instanceId:
            clock.advance(timedelta(minutes=1))
            await asyncio.sleep(0.01)
    assert (await state(hub, "running")).instanceId
    await hub.close()


async def test_a_timer_set_before_a_restart_fires_after_it(
    hub: TaskHub, tmp_path: Path, clock: ManualClock
) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    timer = pb.OrchestratorAction(
        id=1, createTimer=pb.CreateTimerAction(fireAt={"seconds": clock.now() // 10**6 + 60})
    )
    await hub.complete_orchestrator(turn(await worker.take(), timer))
    await hub.close()
    again = await TaskHub.open(tmp_path / "hub.db", clock=clock)
    worker = ScriptedWorker(again)
    assert await worker.nothing_comes()
    worker = ScriptedWorker(again)
    clock.advance(timedelta(seconds=61))
    assert kinds((await worker.take()).orchestratorRequest.newEvents)[1:] == ["timerFired"]
    await again.close()


async def test_ending_an_instance_leaves_none_of_its_timers_behind(hub: TaskHub, clock: ManualClock) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    timer = pb.OrchestratorAction(
        id=1, createTimer=pb.CreateTimerAction(fireAt={"seconds": clock.now() // 10**6 + 60})
    )
    await hub.complete_orchestrator(turn(await worker.take(), timer, complete()))
    rows = await hub._engine.read(lambda db: db.execute("SELECT count(*) FROM inbox").fetchone())
    assert rows == (0,)


async def test_termination_without_the_worker(hub: TaskHub) -> None:
    worker = ScriptedWorker(hub)
    await start(hub, "i")
    item = await worker.take()
    batch = pb.InstanceBatch(instanceIds=["i", "nobody"])
    request = pb.SkipGracefulOrchestrationTerminationsRequest(instanceBatch=batch)
    answer = await hub.skip_graceful_orchestration_terminations(request)
    assert list(answer.unterminatedInstanceIds) == ["nobody"]
    await hub.complete_orchestrator(turn(item, complete()))
    assert (await state(hub, "i")).orchestrationStatus == pb.ORCHESTRATION_STATUS_TERMINATED


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (pb.CreateInstanceRequest(instanceId="i"), grpc.StatusCode.INVALID_ARGUMENT),
        (pb.CreateInstanceRequest(instanceId="@e@k", name="o"), grpc.StatusCode.INVALID_ARGUMENT),
        (pb.CreateInstanceRequest(instanceId="i" * 101, name="o"), grpc.StatusCode.INVALID_ARGUMENT),
        (
            pb.CreateInstanceRequest(name="o", scheduledStartTimestamp={"seconds": 2**50}),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (
            pb.CreateInstanceRequest(
                name="o",
                orchestrationIdReusePolicy=pb.OrchestrationIdReusePolicy(
                    replaceableStatus=[pb.ORCHESTRATION_STATUS_SUSPENDED, pb.ORCHESTRATION_STATUS_FAILED]
                ),
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ],
)
async def test_a_start_that_makes_no_sense_is_refused(
    hub: TaskHub, request_: pb.CreateInstanceRequest, code: grpc.StatusCode
) -> None:
    with pytest.raises(HubError) as refusal:
        await hub.start_instance(request_)
    assert refusal.value.code is code
    assert not (await hub.query_instances(pb.QueryInstancesRequest())).orchestrationState


async def test_a_purge_that_names_nothing_is_refused(hub: TaskHub) -> None:
    with pytest.raises(HubError):
        await hub.purge_instances(pb.PurgeInstancesRequest())


async def test_a_hub_made_anew_is_empty(hub: TaskHub) -> None:
    await start(hub, "i")
    await hub.create_task_hub(pb.CreateTaskHubRequest())
    assert (await state(hub, "i")).instanceId == "i"
    await hub.create_task_hub(pb.CreateTaskHubRequest(recreateIfExists=True))
    assert not (await state(hub, "i")).instanceId
    assert await ScriptedWorker(hub).nothing_comes()


async def test_a_closed_hub_ends_its_streams_and_refuses(tmp_path: Path) -> None:
    hub = await TaskHub.open(tmp_path / "hub.db")
    worker = ScriptedWorker(hub)
    waiting = asyncio.ensure_future(worker.take())
    await asyncio.sleep(0)
    await hub.close()
    with pytest.raises(StopAsyncIteration):
        await waiting
    with pytest.raises(HubError):
        await start(hub, "i")
