"""Entities: batches of operations, their answers, and locks over sets of entities.

A lock request waits in the inbox of the first entity of its set until it is at the head, takes that
entity, and travels to the next. As every set is in the same order, no two can wait for each other.
"""

import logging
import uuid
from collections.abc import Callable

import durabletask.internal.orchestrator_service_pb2 as pb

from aos.local.taskhub import events
from aos.local.taskhub.dispatch import Lease
from aos.local.taskhub.errors import HubError
from aos.local.taskhub.records import Entity, Instance, Kind, Message
from aos.local.taskhub.state import State
from aos.local.taskhub.wire import micros, optional, past_event, text

_log = logging.getLogger(__name__)


class Entities:
    """Operations on the entities of a hub; synchronous, to be run inside one change."""

    def __init__(self, state: State) -> None:
        self._state = state
        state.on_operation = self.settle
        self.start_instance: Callable[[pb.ExecutionStartedEvent], object]

    def settle(self, entity: Entity) -> None:
        """Let waiting lock requests take the entity, then offer what can be run."""
        while entity.lease is None and entity.locked_by is None and entity.inbox:
            request = entity.inbox[0]
            if request.kind is not Kind.LOCK:
                break
            del entity.inbox[0]
            self._state.drop([request])
            self._take(entity, request)
        self._state.dispatcher.offer(entity)

    def _take(self, entity: Entity, request: Message) -> None:
        event = pb.HistoryEvent.FromString(request.event)
        wanted = event.entityLockRequested
        holder = self._state.instance(request.sender or "")
        if holder is None or wanted.criticalSectionId not in holder.locks:
            return  # given up meanwhile
        entity.locked_by, entity.section = holder.id, wanted.criticalSectionId
        self._state.save_entity(entity)
        wanted.position += 1
        if wanted.position < len(wanted.lockSet):
            following = wanted.lockSet[wanted.position]
            self._state.send(following, Kind.LOCK, event, execution=request.execution, sender=holder.id)
        else:
            granted = events.new(self._state.clock.now())
            granted.entityLockGranted.criticalSectionId = wanted.criticalSectionId
            self._state.send(holder.id, Kind.RESULT, granted, execution=request.execution)

    def lock(self, holder: Instance, event: pb.HistoryEvent) -> None:
        """Ask for all entities of a set, for a critical section of `holder`."""
        wanted = event.entityLockRequested
        for entity_id in wanted.lockSet:
            self._state.ids.check_entity(entity_id)
        holder.locks[wanted.criticalSectionId] = list(wanted.lockSet)
        self._state.send(wanted.lockSet[0], Kind.LOCK, event, execution=holder.execution, sender=holder.id)

    def unlock(self, holder: Instance, section: str, entity_id: str) -> None:
        """Give up one entity of a critical section, held or still waited for."""
        wanted = holder.locks.get(section)
        if wanted is not None and entity_id in wanted:
            wanted.remove(entity_id)
            if not wanted:
                del holder.locks[section]
        entity = self._state.entity(entity_id)
        if entity.section == section:
            self.free(entity)
            return
        for message in list(entity.inbox):
            if message.kind is Kind.LOCK and message.sender == holder.id and _section(message) == section:
                entity.inbox.remove(message)
                self._state.drop([message])
        self.settle(entity)

    def free(self, entity: Entity) -> None:
        """Release the entity's lock."""
        entity.locked_by = entity.section = None
        self._state.save_entity(entity)
        self.settle(entity)

    def release_all(self, holder: Instance) -> None:
        """Give up every critical section of an instance that ends or goes on to another generation."""
        for section, wanted in list(holder.locks.items()):
            for entity_id in list(wanted):
                self.unlock(holder, section, entity_id)

    def signal(self, entity_id: str, signal: pb.EntityOperationSignaledEvent) -> None:
        """Send an operation that nobody waits for, to be run at its scheduled time."""
        self._state.ids.check_entity(entity_id)
        event = events.new(self._state.clock.now())
        event.entityOperationSignaled.CopyFrom(signal)
        due = micros(signal.scheduledTime) if signal.HasField("scheduledTime") else 0
        self._state.send(entity_id, Kind.SIGNAL, event, due=due)

    def call(self, caller: Instance, event: pb.HistoryEvent) -> None:
        """Send an operation whose answer `caller` awaits."""
        call = event.entityOperationCalled
        self._state.ids.check_entity(call.targetInstanceId.value)
        due = micros(call.scheduledTime) if call.HasField("scheduledTime") else 0
        self._state.send(
            call.targetInstanceId.value,
            Kind.CALL,
            event,
            execution=caller.execution,
            sender=caller.id,
            due=due,
        )

    def complete(self, lease: Lease, entity: Entity, result: pb.EntityBatchResult) -> None:
        """Take in what a batch did: state, answers, signals and starts, in one change."""
        self._state.dispatcher.release(lease)
        entity.put_back = 0
        if not result.results and result.HasField("failureDetails"):
            failure = pb.OperationResult(
                failure=pb.OperationResultFailure(failureDetails=result.failureDetails)
            )
            results = [failure] * len(lease.messages)
        else:
            results = list(result.results)
            entity.state = optional(result, "entityState")
        done = lease.messages[: len(results)]
        for message, outcome in zip(done, results, strict=False):
            if message.kind is Kind.CALL:
                self._answer(message, outcome)
        for action in result.actions:
            try:
                self._act(action)
            except HubError as error:  # as with any signal nobody waits for the answer
                _log.warning("entity %s: what it asked for is not done: %s", entity.id, error)
        consumed = {message.seq for message in done}
        entity.inbox = [message for message in entity.inbox if message.seq not in consumed]
        self._state.drop(done)
        entity.modified = self._state.clock.now()
        self._state.save_entity(entity)
        self.settle(entity)

    def purge(self, entity_id: str) -> bool:
        """Delete an entity that is idle; False if it is not, or does not exist."""
        entity = self._state.entity(entity_id)
        if entity.state is None or entity.locked_by or entity.inbox or entity.lease:
            return False
        entity.state = None
        self._state.save_entity(entity)
        return True

    def _answer(self, message: Message, outcome: pb.OperationResult) -> None:
        call = pb.HistoryEvent.FromString(message.event).entityOperationCalled
        event = events.new(self._state.clock.now())
        if outcome.HasField("failure"):
            event.entityOperationFailed.CopyFrom(
                pb.EntityOperationFailedEvent(
                    requestId=call.requestId, failureDetails=outcome.failure.failureDetails
                )
            )
        else:
            event.entityOperationCompleted.CopyFrom(
                pb.EntityOperationCompletedEvent(
                    requestId=call.requestId, output=text(optional(outcome.success, "result"))
                )
            )
        self._send_answer(message.sender or "", message.execution, event)

    def _send_answer(self, caller_id: str, execution: str | None, event: pb.HistoryEvent) -> None:
        """Send an answer; a caller that failed meanwhile finds it in its history if it is rewound.

        An operation cannot be asked for again as an activity can: it has changed the entity.
        """
        caller = self._state.instance(caller_id)
        if (
            caller is not None
            and caller.status == pb.ORCHESTRATION_STATUS_FAILED
            and caller.execution == execution
        ):
            self._state.append_history(caller, past_event(event.SerializeToString()))
            self._state.save(caller)
        else:
            self._state.send(caller_id, Kind.RESULT, event, execution=execution)

    def _act(self, action: pb.OperationAction) -> None:
        if action.HasField("sendSignal"):
            wanted = action.sendSignal
            signal = pb.EntityOperationSignaledEvent(
                requestId=uuid.uuid4().hex,
                operation=wanted.name,
                input=text(optional(wanted, "input")),
                targetInstanceId=text(wanted.instanceId),
            )
            if wanted.HasField("scheduledTime"):
                signal.scheduledTime.CopyFrom(wanted.scheduledTime)
            self.signal(wanted.instanceId, signal)
        elif action.HasField("startNewOrchestration"):
            start = action.startNewOrchestration
            origin = pb.ExecutionStartedEvent(
                name=start.name,
                version=text(optional(start, "version")),
                input=text(optional(start, "input")),
                orchestrationInstance=pb.OrchestrationInstance(
                    instanceId=start.instanceId or uuid.uuid4().hex
                ),
            )
            if start.HasField("scheduledTime"):
                origin.scheduledStartTimestamp.CopyFrom(start.scheduledTime)
            if start.HasField("parentTraceContext"):
                origin.parentTraceContext.CopyFrom(start.parentTraceContext)
            self.start_instance(origin)


def _section(message: Message) -> str:
    event = pb.HistoryEvent.FromString(message.event)
    section: str = event.entityLockRequested.criticalSectionId
    return section
