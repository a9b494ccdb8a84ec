"""What happens to whole instances: start, end, restart, rewind, removal."""

import uuid

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc

from aos.local.taskhub import events
from aos.local.taskhub.entities import Entities
from aos.local.taskhub.errors import HubError, not_found, refused
from aos.local.taskhub.records import TERMINAL, Instance, Kind
from aos.local.taskhub.state import State
from aos.local.taskhub.wire import micros, optional, past_event, text


def _replaceable(policy: pb.OrchestrationIdReusePolicy) -> frozenset[pb.OrchestrationStatus]:
    """The statuses that an id may be taken from, by a rule of the Durable Task Scheduler's."""
    wanted = frozenset(policy.replaceableStatus)
    if wanted - TERMINAL and pb.ORCHESTRATION_STATUS_TERMINATED not in wanted:
        raise HubError(
            grpc.StatusCode.INVALID_ARGUMENT,
            "Invalid reusable statuses: cannot exclude 'Terminated' while also allowing reuse of running "
            "instances, which are terminated before they are replaced",
        )
    return wanted


class Instances:
    """Operations on the instances of a hub; synchronous, to be run inside one change."""

    def __init__(self, state: State, entities: Entities) -> None:
        self._state = state
        self._entities = entities

    def require(self, instance_id: str) -> Instance:
        """The instance with this id; `HubError` NOT_FOUND if there is none."""
        instance = self._state.instance(instance_id)
        if instance is None:
            raise not_found(instance_id)
        return instance

    def start(self, request: pb.CreateInstanceRequest) -> str:
        """Start an instance as a client asks, by its policy on an id in use."""
        instance_id = request.instanceId or uuid.uuid4().hex
        replaceable = TERMINAL  # where the client names no policy
        if request.HasField("orchestrationIdReusePolicy"):
            replaceable = _replaceable(request.orchestrationIdReusePolicy)
        origin = pb.ExecutionStartedEvent(
            name=request.name,
            version=text(optional(request, "version")),
            input=text(optional(request, "input")),
            orchestrationInstance=pb.OrchestrationInstance(
                instanceId=instance_id, executionId=text(optional(request, "executionId"))
            ),
            tags=request.tags,
        )
        if request.HasField("scheduledStartTimestamp"):
            origin.scheduledStartTimestamp.CopyFrom(request.scheduledStartTimestamp)
        if request.HasField("parentTraceContext"):
            origin.parentTraceContext.CopyFrom(request.parentTraceContext)
        self.create(origin, replaceable)
        return instance_id

    def create(
        self, origin: pb.ExecutionStartedEvent, replaceable: frozenset[pb.OrchestrationStatus]
    ) -> Instance:
        """Start the instance that `origin` describes; ALREADY_EXISTS if its id's status is another."""
        state = self._state
        instance_id = origin.orchestrationInstance.instanceId
        state.ids.check_instance(instance_id)
        if not origin.name:
            raise HubError(grpc.StatusCode.INVALID_ARGUMENT, "an orchestration needs a name")
        start_at = (
            micros(origin.scheduledStartTimestamp) if origin.HasField("scheduledStartTimestamp") else None
        )
        self._vacate(instance_id, replaceable)
        now = state.clock.now()
        execution = optional(origin.orchestrationInstance, "executionId") or uuid.uuid4().hex
        origin.orchestrationInstance.executionId.value = execution
        has_parent = origin.HasField("parentInstance")
        parent = origin.parentInstance
        instance = Instance(
            no=state.next_no(),
            id=instance_id,
            execution=execution,
            name=origin.name,
            version=optional(origin, "version"),
            status=pb.ORCHESTRATION_STATUS_PENDING,
            created=now,
            updated=now,
            start_at=start_at,
            parent=parent.orchestrationInstance.instanceId if has_parent else None,
            parent_task=parent.taskScheduledId if has_parent else None,
            parent_execution=optional(parent.orchestrationInstance, "executionId") if has_parent else None,
        )
        state.add(instance, origin)
        state.send(
            instance_id, Kind.START, events.started(now, origin), execution=execution, due=start_at or 0
        )
        return instance

    def _vacate(self, instance_id: str, replaceable: frozenset[pb.OrchestrationStatus]) -> None:
        existing = self._state.instance(instance_id)
        if existing is None:
            return
        if existing.status not in replaceable:
            status = pb.OrchestrationStatus.Name(existing.status).removeprefix("ORCHESTRATION_STATUS_")
            raise HubError(
                grpc.StatusCode.ALREADY_EXISTS,
                f"orchestration instance '{instance_id}' exists and is {status}",
            )
        self.remove(existing)

    def remove(self, instance: Instance) -> None:
        """Delete an instance, whatever its status. A live one ends as terminated: its parent is told."""
        if instance.live:
            instance.status = pb.ORCHESTRATION_STATUS_TERMINATED
            self._entities.release_all(instance)
            self.tell_parent(instance)
        self._state.remove(instance)

    def raise_event(self, request: pb.RaiseEventRequest) -> None:
        """Send an external event; an instance that has ended takes none."""
        if self.require(request.instanceId).live:
            event = events.raised(self._state.clock.now(), request.name, text(optional(request, "input")))
            self._state.send(request.instanceId, Kind.EVENT, event)

    def suspend(self, request: pb.SuspendRequest) -> None:
        """Hold all deliveries back until the instance is resumed."""
        if self.require(request.instanceId).live:
            event = events.new(self._state.clock.now())
            event.executionSuspended.CopyFrom(
                pb.ExecutionSuspendedEvent(input=text(optional(request, "reason")))
            )
            self._state.send(request.instanceId, Kind.SUSPEND, event)

    def resume(self, request: pb.ResumeRequest) -> None:
        """Deliver again, what was held back first."""
        if self.require(request.instanceId).live:
            event = events.new(self._state.clock.now())
            event.executionResumed.CopyFrom(pb.ExecutionResumedEvent(input=text(optional(request, "reason"))))
            self._state.send(request.instanceId, Kind.RESUME, event)

    def terminate(self, instance: Instance, output: str | None, *, recurse: bool) -> None:
        """Order an instance to end as terminated. One that never ran ends here and now."""
        if not instance.live:
            return
        now = self._state.clock.now()
        if instance.turns == 0 and instance.lease is None:
            self.end(instance, events.ended(now, pb.ORCHESTRATION_STATUS_TERMINATED, text(output)))
            if recurse:
                self.terminate_children(instance, output)
            return
        kind = Kind.TERMINATE_ALL if recurse else Kind.TERMINATE
        self._state.send(instance.id, kind, events.terminated(now, text(output), recurse=recurse))

    def terminate_children(self, instance: Instance, output: str | None) -> None:
        """Order all children to end, and theirs."""
        for child in self._state.children(instance.id):
            self.terminate(child, output, recurse=True)

    def force_termination(self, instance_id: str, reason: str | None) -> bool:
        """End an instance without asking its worker; False if it is not live."""
        instance = self._state.instance(instance_id)
        if instance is None or not instance.live:
            return False
        if instance.lease is not None:
            self._state.dispatcher.release(instance.lease)
        now = self._state.clock.now()
        self.end(instance, events.ended(now, pb.ORCHESTRATION_STATUS_TERMINATED, text(reason)))
        return True

    def end(self, instance: Instance, ended: pb.HistoryEvent, fragment: bytes = b"") -> None:
        """Give an instance the final status that its last event tells, after `fragment`, its last turn."""
        state, outcome = self._state, ended.executionCompleted
        failed = outcome.HasField("failureDetails")
        instance.status, instance.output = outcome.orchestrationStatus, optional(outcome, "result")
        instance.failure = outcome.failureDetails.SerializeToString() if failed else None
        instance.completed = instance.updated = state.clock.now()
        state.append_history(instance, fragment + past_event(ended.SerializeToString()))
        self._entities.release_all(instance)
        self.tell_parent(instance)
        state.save(instance)
        state.end(instance)

    def tell_parent(self, child: Instance) -> None:
        """Send the result of an ended child to the generation of its parent that waits for it."""
        if child.parent is None or child.parent_task is None:
            return
        now = self._state.clock.now()
        if child.status == pb.ORCHESTRATION_STATUS_COMPLETED:
            event = events.child_completed(now, child.parent_task, text(child.output))
        elif child.failure is not None:
            details = pb.TaskFailureDetails.FromString(child.failure)
            event = events.child_failed(now, child.parent_task, details)
        else:
            status = pb.OrchestrationStatus.Name(child.status).removeprefix("ORCHESTRATION_STATUS_").lower()
            why = f": {child.output}" if child.output is not None else ""
            details = pb.TaskFailureDetails(
                errorType=f"Orchestration{status.capitalize()}",
                errorMessage=f"sub-orchestration '{child.id}' was {status}{why}",
            )
            event = events.child_failed(now, child.parent_task, details)
        self._state.send(child.parent, Kind.RESULT, event, execution=child.parent_execution)

    def restart(self, request: pb.RestartInstanceRequest) -> str:
        """Run an instance again from its first input: once it has ended, or at any time under a new id."""
        instance = self.require(request.instanceId)
        if instance.live and not request.restartWithNewInstanceId:
            raise refused(f"orchestration instance '{instance.id}' has not ended")
        origin = self._state.origin(instance)
        instance_id = uuid.uuid4().hex if request.restartWithNewInstanceId else instance.id
        origin.orchestrationInstance.CopyFrom(pb.OrchestrationInstance(instanceId=instance_id))
        origin.ClearField("scheduledStartTimestamp")
        origin.ClearField("parentInstance")
        self.create(origin, TERMINAL)
        return instance_id

    def rewind(self, instance: Instance, reason: str | None, parent_execution: str | None = None) -> None:
        """Take a failed instance back to before its failures; the worker rewrites its history."""
        if instance.status != pb.ORCHESTRATION_STATUS_FAILED:
            raise refused(f"orchestration instance '{instance.id}' has not failed")
        instance.status = pb.ORCHESTRATION_STATUS_RUNNING
        instance.output = instance.failure = instance.completed = None
        instance.updated = self._state.clock.now()
        if parent_execution is not None:
            instance.parent_execution = parent_execution
        self._state.save(instance)
        event = events.new(instance.updated)
        event.executionRewound.CopyFrom(
            pb.ExecutionRewoundEvent(reason=text(reason), parentExecutionId=text(parent_execution))
        )
        self._state.send(instance.id, Kind.REWIND, event)
