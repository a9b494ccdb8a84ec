"""History events that the hub itself writes."""

import durabletask.internal.orchestrator_service_pb2 as pb

from aos.local.taskhub.wire import StringValue, encoded, field, timestamp

_NOT_AN_ACTION = -1
_FIRST = 0  # of the event that starts a generation, by the Durable Task Scheduler's count

# The event of each turn, encoded but for its time: encoded fields may come in any order.
_STARTED = encoded(pb.HistoryEvent(eventId=_NOT_AN_ACTION, orchestratorStarted=pb.OrchestratorStartedEvent()))
_TIMESTAMP = 2


def new(now: int, event_id: int = _NOT_AN_ACTION) -> pb.HistoryEvent:
    """An event to be filled in; `event_id` is that of the action it confirms."""
    return pb.HistoryEvent(eventId=event_id, timestamp=timestamp(now))


def turn_started(now: int) -> bytes:
    """The encoded event that begins a turn; its time is the orchestrator's clock."""
    return _STARTED + field(_TIMESTAMP, encoded(timestamp(now)))


def started(now: int, origin: pb.ExecutionStartedEvent) -> pb.HistoryEvent:
    """The first event of a generation."""
    return pb.HistoryEvent(eventId=_FIRST, timestamp=timestamp(now), executionStarted=origin)


def raised(now: int, name: str, data: StringValue | None) -> pb.HistoryEvent:
    """An external event."""
    return pb.HistoryEvent(
        eventId=_NOT_AN_ACTION,
        timestamp=timestamp(now),
        eventRaised=pb.EventRaisedEvent(name=name, input=data),
    )


def terminated(now: int, output: StringValue | None, *, recurse: bool) -> pb.HistoryEvent:
    """The order to end as terminated, with this output."""
    return pb.HistoryEvent(
        eventId=_NOT_AN_ACTION,
        timestamp=timestamp(now),
        executionTerminated=pb.ExecutionTerminatedEvent(input=output, recurse=recurse),
    )


def ended(
    now: int,
    status: pb.OrchestrationStatus,
    result: StringValue | None,
    failure: pb.TaskFailureDetails | None = None,
    event_id: int = _NOT_AN_ACTION,
) -> pb.HistoryEvent:
    """The last event of an instance; `event_id` is that of the action that ended it, if one did."""
    outcome = pb.ExecutionCompletedEvent(orchestrationStatus=status, result=result, failureDetails=failure)
    return pb.HistoryEvent(eventId=event_id, timestamp=timestamp(now), executionCompleted=outcome)


def child_completed(now: int, task: int, result: StringValue | None) -> pb.HistoryEvent:
    """The result of a sub-orchestration, for its parent."""
    return pb.HistoryEvent(
        eventId=_NOT_AN_ACTION,
        timestamp=timestamp(now),
        subOrchestrationInstanceCompleted=pb.SubOrchestrationInstanceCompletedEvent(
            taskScheduledId=task, result=result
        ),
    )


def child_failed(now: int, task: int, failure: pb.TaskFailureDetails) -> pb.HistoryEvent:
    """The failure of a sub-orchestration, for its parent."""
    return pb.HistoryEvent(
        eventId=_NOT_AN_ACTION,
        timestamp=timestamp(now),
        subOrchestrationInstanceFailed=pb.SubOrchestrationInstanceFailedEvent(
            taskScheduledId=task, failureDetails=failure
        ),
    )
