"""After a rewind: what the failed run left undone is set going again under the new execution."""

import durabletask.internal.orchestrator_service_pb2 as pb

from aos.local.taskhub.instances import Instances
from aos.local.taskhub.records import Instance
from aos.local.taskhub.scheduling import add_activity, add_child, add_timer
from aos.local.taskhub.schema import ACTIVITIES
from aos.local.taskhub.state import State
from aos.local.taskhub.wire import optional


def relink(state: State, instances: Instances, it: Instance, history: list[pb.HistoryEvent]) -> None:
    """Set going again what `history` has begun and not finished.

    The results of activities, timers and children that came in after the failure were dropped, so each
    of these that is no longer under way is started again; a child that ended well reports again.
    """
    reason = None
    activities: dict[int, pb.HistoryEvent] = {}
    timers: dict[int, pb.HistoryEvent] = {}
    children: dict[int, pb.HistoryEvent] = {}
    for event in history:
        match event.WhichOneof("eventType"):
            case "taskScheduled":
                activities[event.eventId] = event
            case "taskCompleted":
                activities.pop(event.taskCompleted.taskScheduledId, None)
            case "timerCreated":
                timers[event.eventId] = event
            case "timerFired":
                timers.pop(event.timerFired.timerId, None)
            case "subOrchestrationInstanceCreated":
                children[event.eventId] = event
            case "subOrchestrationInstanceCompleted":
                children.pop(event.subOrchestrationInstanceCompleted.taskScheduledId, None)
            case "executionRewound":
                reason = optional(event.executionRewound, "reason")
    state.readdress(it)
    _resume_activities(state, it, activities)
    for created in timers.values():
        add_timer(state, it, created)
    for created in children.values():
        _resume_child(state, instances, it, created, reason)


def _resume_activities(state: State, it: Instance, undone: dict[int, pb.HistoryEvent]) -> None:
    for activity in state.activities.values():
        if activity.instance == it.id and activity.task in undone:
            del undone[activity.task]
            activity.execution = it.execution
            state.journal.put(ACTIVITIES, activity.row())
    for task, event in undone.items():
        add_activity(state, it, task, event.taskScheduled)


def _resume_child(
    state: State, instances: Instances, it: Instance, created: pb.HistoryEvent, reason: str | None
) -> None:
    child = state.instance(created.subOrchestrationInstanceCreated.instanceId)
    if child is None or child.parent != it.id:
        add_child(state, instances, it, created)
    elif child.status == pb.ORCHESTRATION_STATUS_FAILED:
        instances.rewind(child, reason, it.execution)
    else:
        child.parent_execution = it.execution
        state.save(child)
        if not child.live:
            instances.tell_parent(child)
