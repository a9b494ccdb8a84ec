"""After a rewind: what the failed run left undone is set going again under the new execution."""

from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb

from aos.local.taskhub.entities import Entities
from aos.local.taskhub.instances import Instances
from aos.local.taskhub.records import Instance
from aos.local.taskhub.scheduling import add_activity, add_child, add_timer
from aos.local.taskhub.schema import ACTIVITIES
from aos.local.taskhub.state import State
from aos.local.taskhub.wire import optional

# Event kinds that end something: what kind began it, and the field that says which.
_ENDS = {
    "taskCompleted": ("taskScheduled", "taskScheduledId"),
    "timerFired": ("timerCreated", "timerId"),
    "subOrchestrationInstanceCompleted": ("subOrchestrationInstanceCreated", "taskScheduledId"),
    "entityLockGranted": ("entityLockRequested", "criticalSectionId"),
}


def relink(
    state: State, instances: Instances, entities: Entities, it: Instance, history: list[pb.HistoryEvent]
) -> None:
    """Set going again what `history` has begun and not finished.

    The results of activities, timers and children that came in after the failure were dropped, so each
    of these that is no longer under way is started again; a child that ended well reports again. Locks
    that were waited for were given up with the failure, and are asked for again.
    """
    undone = _undone(history)
    reasons = (event.executionRewound for event in reversed(history) if event.HasField("executionRewound"))
    reason = next((optional(rewound, "reason") for rewound in reasons), None)
    state.readdress(it)
    _resume_activities(state, it, undone["taskScheduled"])
    for created in undone["timerCreated"].values():
        add_timer(state, it, created)
    for created in undone["subOrchestrationInstanceCreated"].values():
        _resume_child(state, instances, it, created, reason)
    for requested in undone["entityLockRequested"].values():
        entities.lock(it, requested)


def _undone(history: list[pb.HistoryEvent]) -> dict[str, dict[Any, pb.HistoryEvent]]:
    """The events that begin something which no later event ends, by their kind."""
    begun: dict[str, dict[Any, pb.HistoryEvent]] = {kind: {} for kind, _ in _ENDS.values()}
    for event in history:
        kind = event.WhichOneof("eventType")
        if kind == "entityLockRequested":
            begun[kind][event.entityLockRequested.criticalSectionId] = event
        elif kind in begun:
            begun[kind][event.eventId] = event
        elif kind in _ENDS:
            ended, key = _ENDS[kind]
            begun[ended].pop(getattr(getattr(event, kind), key), None)
    return begun


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
