"""Work that an orchestration asks for: activities, timers, sub-orchestrations."""

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc

from aos.local.taskhub import events
from aos.local.taskhub.errors import HubError
from aos.local.taskhub.instances import Instances
from aos.local.taskhub.records import TERMINAL, Activity, Instance, Kind
from aos.local.taskhub.state import State
from aos.local.taskhub.wire import copy_fields, micros, optional, text


def add_activity(state: State, it: Instance, task: int, scheduled: pb.TaskScheduledEvent) -> None:
    """Schedule the activity that a history event tells of."""
    request = pb.ActivityRequest(name=scheduled.name, taskId=task, tags=scheduled.tags)
    copy_fields(scheduled, request, "version", "input", "parentTraceContext")
    request.orchestrationInstance.instanceId = it.id
    request.orchestrationInstance.executionId.value = it.execution
    # For the filters of workers an activity without a version of its own is of its orchestration's.
    version = optional(scheduled, "version") or it.version or ""
    state.add_activity(
        Activity(
            state.next_seq(), it.id, it.execution, task, scheduled.name, version, request.SerializeToString()
        )
    )


def add_timer(state: State, it: Instance, created: pb.HistoryEvent) -> None:
    """Set the timer that a history event tells of."""
    fire_at = created.timerCreated.fireAt
    event = pb.HistoryEvent(
        eventId=-1, timestamp=fire_at, timerFired=pb.TimerFiredEvent(fireAt=fire_at, timerId=created.eventId)
    )
    state.send(it.id, Kind.RESULT, event, execution=it.execution, due=micros(fire_at))


def add_child(state: State, instances: Instances, it: Instance, created: pb.HistoryEvent) -> None:
    """Start the sub-orchestration that a history event tells of; an id that cannot be had fails it."""
    wanted = created.subOrchestrationInstanceCreated
    origin = pb.ExecutionStartedEvent(
        name=wanted.name,
        version=text(optional(wanted, "version")),
        input=text(optional(wanted, "input")),
        orchestrationInstance=pb.OrchestrationInstance(instanceId=wanted.instanceId),
        parentInstance=pb.ParentInstanceInfo(
            taskScheduledId=created.eventId,
            name=text(it.name),
            version=text(it.version),
            orchestrationInstance=pb.OrchestrationInstance(instanceId=it.id, executionId=text(it.execution)),
        ),
        tags=wanted.tags,
    )
    if wanted.HasField("parentTraceContext"):
        origin.parentTraceContext.CopyFrom(wanted.parentTraceContext)
    try:
        instances.create(origin, TERMINAL)
    except HubError as error:
        taken = error.code is grpc.StatusCode.ALREADY_EXISTS
        details = pb.TaskFailureDetails(
            errorType="OrchestrationAlreadyExists" if taken else "InvalidSubOrchestration",
            errorMessage=str(error),
            isNonRetriable=True,
        )
        failed = events.child_failed(state.clock.now(), created.eventId, details)
        state.send(it.id, Kind.RESULT, failed, execution=it.execution)
