"""A turn of an orchestration: what its worker answered becomes history, messages and work.

As with the Durable Task Scheduler a history has an event for the beginning of a turn and none for its end,
which no replay needs.
"""

import uuid

import durabletask.internal.orchestrator_service_pb2 as pb

from aos.local.taskhub import events
from aos.local.taskhub.dispatch import Lease
from aos.local.taskhub.entities import Entities
from aos.local.taskhub.instances import Instances
from aos.local.taskhub.records import TERMINAL, Instance, Kept, Kind
from aos.local.taskhub.rewind import relink
from aos.local.taskhub.scheduling import add_activity, add_child, add_timer
from aos.local.taskhub.state import State
from aos.local.taskhub.wire import copy_fields, history_events, optional, past_event, text


class Turn:
    """One turn's changes; made, applied once, and thrown away."""

    def __init__(
        self, state: State, instances: Instances, entities: Entities, lease: Lease, it: Instance
    ) -> None:
        self._state = state
        self._instances = instances
        self._entities = entities
        self._it = it
        self._now = state.clock.now()
        self._lease = lease
        self._messages = lease.messages
        self._given = 0  # bytes of the fragment that the worker was given
        self._fragment = bytearray(past_event(lease.started))

    def apply(self, response: pb.OrchestratorResponse, actions: list[pb.OrchestratorAction]) -> None:
        """Consume the turn's messages and carry out the worker's actions."""
        it = self._it
        it.put_back = 0
        self._consume(response)
        it.updated = self._now
        if response.HasField("orchestrationTraceContext"):
            it.trace = response.orchestrationTraceContext.SerializeToString()
        end: pb.OrchestratorAction | None = None
        for action in actions:
            match action.WhichOneof("orchestratorActionType"):
                case "rewindOrchestration":
                    self._rewound(action.rewindOrchestration)
                    return
                case "completeOrchestration":
                    end = action
                case kind:
                    self._act(kind, action)
        it.custom_status = optional(response, "customStatus")
        if end is None:
            fragment = bytes(self._fragment)
            self._state.append_history(it, fragment)
            if self._lease.keeper is not None:
                it.kept = Kept(self._lease.keeper, self._lease.token, fragment[self._given :])
            self._state.save(it)
            self._state.dispatcher.offer(it)
        elif end.completeOrchestration.orchestrationStatus == pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW:
            self._continue_as_new(end.completeOrchestration)
        else:
            self._end(end.id, end.completeOrchestration)

    def _consume(self, response: pb.OrchestratorResponse) -> None:
        if response.HasField("numEventsProcessed"):
            # Counts the event that starts the turn too.
            self._messages = self._messages[: max(response.numEventsProcessed.value - 1, 0)]
        it = self._it
        consumed = {message.seq for message in self._messages}
        it.inbox = [message for message in it.inbox if message.seq not in consumed]
        self._state.drop(self._messages)
        if it.status == pb.ORCHESTRATION_STATUS_PENDING:
            it.status = pb.ORCHESTRATION_STATUS_RUNNING
            self._state.announce(it.id)
        for message in self._messages:
            self._fragment += past_event(message.event)
            if message.kind is Kind.SUSPEND:
                it.status = pb.ORCHESTRATION_STATUS_SUSPENDED
            elif message.kind is Kind.RESUME:
                it.status = pb.ORCHESTRATION_STATUS_RUNNING
        self._given = len(self._fragment)

    def _record(self, event: pb.HistoryEvent) -> None:
        self._fragment += past_event(event.SerializeToString())

    def _act(self, kind: str | None, action: pb.OrchestratorAction) -> None:
        match kind:
            case "scheduleTask":
                self._schedule(action.id, action.scheduleTask)
            case "createTimer":
                self._create_timer(action.id, action.createTimer)
            case "createSubOrchestration":
                self._create_child(action.id, action.createSubOrchestration)
            case "sendEvent":
                self._send_event(action.id, action.sendEvent)
            case "sendEntityMessage":
                self._send_entity_message(action.id, action.sendEntityMessage)
            case "terminateOrchestration":
                wanted = action.terminateOrchestration
                if (target := self._state.instance(wanted.instanceId)) is not None:
                    self._instances.terminate(target, optional(wanted, "reason"), recurse=wanted.recurse)

    def _schedule(self, task: int, wanted: pb.ScheduleTaskAction) -> None:
        event = events.new(self._now, task)
        scheduled = event.taskScheduled
        scheduled.name = wanted.name
        copy_fields(wanted, scheduled, "version", "input", "parentTraceContext")
        scheduled.tags.update(wanted.tags)
        self._record(event)
        add_activity(self._state, self._it, task, scheduled)

    def _create_timer(self, timer: int, wanted: pb.CreateTimerAction) -> None:
        event = events.new(self._now, timer)
        event.timerCreated.fireAt.CopyFrom(wanted.fireAt)
        self._record(event)
        add_timer(self._state, self._it, event)

    def _create_child(self, task: int, wanted: pb.CreateSubOrchestrationAction) -> None:
        child_id = wanted.instanceId or uuid.uuid4().hex
        created = pb.SubOrchestrationInstanceCreatedEvent(
            instanceId=child_id,
            name=wanted.name,
            version=text(optional(wanted, "version")),
            input=text(optional(wanted, "input")),
            tags=wanted.tags,
        )
        if wanted.HasField("parentTraceContext"):
            created.parentTraceContext.CopyFrom(wanted.parentTraceContext)
        event = events.new(self._now, task)
        event.subOrchestrationInstanceCreated.CopyFrom(created)
        self._record(event)
        add_child(self._state, self._instances, self._it, event)

    def _send_event(self, action: int, wanted: pb.SendEventAction) -> None:
        target = wanted.instance.instanceId
        data = text(optional(wanted, "data"))
        event = events.new(self._now, action)
        event.eventSent.CopyFrom(pb.EventSentEvent(instanceId=target, name=wanted.name, input=data))
        self._record(event)
        if not target.startswith("@"):  # an entity takes operations, no events
            self._state.send(target, Kind.EVENT, events.raised(self._now, wanted.name, data))

    def _send_entity_message(self, action: int, wanted: pb.SendEntityMessageAction) -> None:
        event = events.new(self._now, action)
        match wanted.WhichOneof("EntityMessageType"):
            case "entityOperationSignaled":
                event.entityOperationSignaled.CopyFrom(wanted.entityOperationSignaled)
                self._record(event)
                self._entities.signal(
                    wanted.entityOperationSignaled.targetInstanceId.value, wanted.entityOperationSignaled
                )
            case "entityOperationCalled":
                event.entityOperationCalled.CopyFrom(wanted.entityOperationCalled)
                self._record(event)
                self._entities.call(self._it, event)
            case "entityLockRequested":
                event.entityLockRequested.CopyFrom(wanted.entityLockRequested)
                self._record(event)
                self._entities.lock(self._it, event)
            case "entityUnlockSent":
                unlock = wanted.entityUnlockSent
                event.entityUnlockSent.CopyFrom(unlock)
                self._record(event)
                self._entities.unlock(self._it, unlock.criticalSectionId, unlock.targetInstanceId.value)

    def _end(self, action: int, end: pb.CompleteOrchestrationAction) -> None:
        failure = end.failureDetails if end.HasField("failureDetails") else None
        status = end.orchestrationStatus
        if status not in TERMINAL:
            failure = pb.TaskFailureDetails(
                errorType="InvalidStatus", errorMessage=f"the worker ended the instance with status {status}"
            )
            status = pb.ORCHESTRATION_STATUS_FAILED
        result = optional(end, "result")
        ended = events.ended(self._now, status, text(result), failure, action)
        self._instances.end(self._it, ended, bytes(self._fragment))
        recurse = any(message.kind is Kind.TERMINATE_ALL for message in self._messages)
        if recurse and status == pb.ORCHESTRATION_STATUS_TERMINATED:
            self._instances.terminate_children(self._it, result)

    def _continue_as_new(self, end: pb.CompleteOrchestrationAction) -> None:
        it, state = self._it, self._state
        self._entities.release_all(it)
        origin = state.origin(it)
        arrived = [message for message in it.inbox if message.execution is None]
        state.drop(message for message in it.inbox if message.execution is not None)
        it.inbox = []
        it.execution = uuid.uuid4().hex
        if end.HasField("newVersion"):
            it.version = end.newVersion.value
        origin.ClearField("input")
        if end.HasField("result"):
            origin.input.value = end.result.value
        origin.MergeFrom(pb.ExecutionStartedEvent(version=text(it.version), tags=end.tags))
        origin.orchestrationInstance.executionId.value = it.execution
        origin.ClearField("scheduledStartTimestamp")
        it.start_at = it.trace = None
        state.replace_history(it, None)
        state.drop_old_timers(it)
        state.add(it, origin)
        state.send(it.id, Kind.START, events.started(self._now, origin), execution=it.execution)
        for event in end.carryoverEvents:
            state.send(it.id, Kind.EVENT, event)
        state.resend(arrived)
        it.inbox.extend(arrived)
        state.dispatcher.offer(it)

    def _rewound(self, action: pb.RewindOrchestrationAction) -> None:
        """Take over the history that the worker rewrote, and set going again what it left undone."""
        it, state = self._it, self._state
        fragment = b"".join(past_event(event.SerializeToString()) for event in action.newHistory)
        history = history_events(fragment)
        for event in history:
            if event.HasField("executionStarted"):
                execution = optional(event.executionStarted.orchestrationInstance, "executionId")
                it.execution = execution or it.execution
        state.replace_history(it, fragment)
        state.save(it)
        relink(state, self._instances, self._entities, it, history)
        # The next turn needs a message; this one says nothing to the orchestrator.
        marker = events.new(self._now)
        marker.genericEvent.data.value = "rewound"
        state.send(it.id, Kind.EVENT, marker)
