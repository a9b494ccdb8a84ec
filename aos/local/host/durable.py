"""Durable functions: work items from the hub to the worker, and what came of them back."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from typing import cast

import durabletask.internal.orchestrator_service_pb2 as pb
from google.protobuf.message import DecodeError, Message

from aos.local.host.calls import Failure, Result, WorkerLostError
from aos.local.host.durablejson import DurableSettings
from aos.local.host.functions import Function, Trigger
from aos.local.host.supervisor import Supervisor
from aos.local.host.versions import FailureStrategy
from aos.local.taskhub import HubError, TaskHub
from aos.local.taskhub.wire import optional

_WORKER = "aos-local-host"


class DurablePump:
    """Takes work items up to the limits of host.json and runs each as an invocation."""

    def __init__(
        self,
        functions: Iterable[Function],
        hub: TaskHub,
        settings: DurableSettings,
        supervisor: Supervisor,
    ) -> None:
        self._hub = hub
        self._settings = settings
        self._supervisor = supervisor
        self._functions = {(each.trigger, each.durable_name.lower()): each for each in functions}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._paused = False

    def start(self) -> None:
        """Begin to take work."""
        self._loop = self._supervisor.spawn(self._take())

    def pause(self) -> None:
        """Take no more work. Items that the hub still hands out are given back when the pump closes."""
        self._paused = True

    async def close(self) -> None:
        """Give back what is not done (the worker is gone by now: nothing runs on)."""
        await asyncio.gather(*self._tasks)
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    async def _take(self) -> None:
        request = pb.GetWorkItemsRequest(
            workItemFilters=self._filters() if self._settings.filters_work else None,
            maxConcurrentOrchestrationWorkItems=self._settings.orchestrators,
            maxConcurrentActivityWorkItems=self._settings.activities,
            maxConcurrentEntityWorkItems=self._settings.entities,
            worker_instance_id=_WORKER,
        )
        items = self._hub.work_items(request)
        async with contextlib.aclosing(
            cast("AsyncGenerator[pb.WorkItem]", items)
        ):  # gives back what is leased
            async for item in items:
                if self._paused:
                    continue
                task = self._supervisor.spawn(self._work(item))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                await self._supervisor.ready()

    def _filters(self) -> pb.WorkItemFilters:
        """Only work for functions that this app has; the rest waits for an app that has them."""
        filters = pb.WorkItemFilters()
        for function in self._functions.values():
            match function.trigger:
                case Trigger.ORCHESTRATION:
                    filters.orchestrations.add(name=function.durable_name)
                case Trigger.ACTIVITY:
                    filters.activities.add(name=function.durable_name)
                case Trigger.ENTITY:
                    filters.entities.add(name=function.durable_name.lower())
        return filters

    async def _work(self, item: pb.WorkItem) -> None:
        kind = item.WhichOneof("request")
        try:
            match kind:
                case "orchestratorRequest":
                    await self._orchestrate(item.orchestratorRequest, item.completionToken)
                case "activityRequest":
                    await self._act(item.activityRequest, item.completionToken)
                case "entityRequest":
                    await self._operate(item.entityRequest, item.completionToken)
                case _:
                    raise AssertionError(f"the hub sent a work item {kind}")
        except HubError as error:
            self._supervisor.say(f"the hub did not take the result of a {kind}: {error}")

    async def _orchestrate(self, request: pb.OrchestratorRequest, token: str) -> None:
        started = _started(request)
        result = self._out_of_version(started) or await self._invoke(
            Trigger.ORCHESTRATION, started.name, request.SerializeToString(), request.instanceId
        )
        if result is None or result is REJECTED:
            await self._hub.abandon_orchestrator(pb.AbandonOrchestrationTaskRequest(completionToken=token))
            return
        response = pb.OrchestratorResponse()
        failure = result.failure or _parse(result.body, response)
        if failure is not None:
            response = _failed_orchestration(failure)
        else:
            self._tell_end(started.name, request.instanceId, response)
            if self._settings.versions.default:
                _complete_children(response, self._settings.versions.default)
        response.instanceId = request.instanceId
        response.completionToken = token
        await self._hub.complete_orchestrator(response)

    def _out_of_version(self, started: pb.ExecutionStartedEvent) -> Result | None:
        """What becomes of an instance that this version of the app may not run."""
        versions = self._settings.versions
        mismatch = versions.mismatch(optional(started, "version"))
        if mismatch is None:
            return None
        if versions.failure is FailureStrategy.FAIL:
            return Result(failure=Failure(VERSION_MISMATCH, mismatch))
        return REJECTED

    def _tell_end(self, name: str, instance_id: str, response: pb.OrchestratorResponse) -> None:
        """Say that an orchestration fails: its function did not, it only told the SDK's answer."""
        for action in response.actions:
            end = action.completeOrchestration
            if end.orchestrationStatus == pb.ORCHESTRATION_STATUS_FAILED:
                self._supervisor.say(
                    f"orchestration {instance_id} of {name} failed: {_line(end.failureDetails)}"
                )

    async def _act(self, request: pb.ActivityRequest, token: str) -> None:
        body = (request.input.value if request.HasField("input") else "null").encode()
        instance_id = request.orchestrationInstance.instanceId
        result = await self._invoke(Trigger.ACTIVITY, request.name, body, instance_id)
        if result is None:
            await self._hub.abandon_activity(pb.AbandonActivityTaskRequest(completionToken=token))
            return
        response = pb.ActivityResponse(instanceId=instance_id, taskId=request.taskId, completionToken=token)
        if result.failure is not None:
            response.failureDetails.CopyFrom(failure_details(result.failure))
        elif result.body:
            response.result.value = result.body.decode()
        await self._hub.complete_activity(response)

    async def _operate(self, request: pb.EntityBatchRequest, token: str) -> None:
        name = request.instanceId.lstrip("@").partition("@")[0]
        result = await self._invoke(Trigger.ENTITY, name, request.SerializeToString(), request.instanceId)
        if result is None:
            await self._hub.abandon_entity(pb.AbandonEntityTaskRequest(completionToken=token))
            return
        response = pb.EntityBatchResult()
        failure = result.failure or _parse(result.body, response)
        if failure is not None:
            response = _failed_operations(request, failure)
        else:
            self._tell_failures(request, response)
            if self._settings.versions.default:
                _complete_started(response, self._settings.versions.default)
        response.completionToken = token
        await self._hub.complete_entity(response)

    def _tell_failures(self, request: pb.EntityBatchRequest, result: pb.EntityBatchResult) -> None:
        """Say which operations failed: their function did not."""
        for operation, outcome in zip(request.operations, result.results, strict=False):
            if outcome.HasField("failure"):
                reason = _line(outcome.failure.failureDetails)
                self._supervisor.say(
                    f"operation {operation.operation} of entity {request.instanceId} failed: {reason}"
                )

    async def _invoke(self, trigger: Trigger, name: str, body: bytes, instance_id: str) -> Result | None:
        """The result; `None` when the work must be given back because the worker died under it."""
        function = self._functions.get((trigger, name.lower()))
        if function is None:
            return Result(failure=self._unknown(trigger, name))
        try:
            return await self._supervisor.invoke(_KINDS[trigger], function, body, note=instance_id)
        except WorkerLostError:
            return None

    def _unknown(self, trigger: Trigger, name: str) -> Failure:
        kind = _KINDS[trigger]
        known = ", ".join(
            sorted(each.durable_name for (t, _), each in self._functions.items() if t is trigger)
        )
        message = (
            f"the {kind} function {name!r} does not exist or is disabled; this app has: {known or 'none'}"
        )
        self._supervisor.say(message)
        return Failure(UNKNOWN_FUNCTION, message)


UNKNOWN_FUNCTION = "FunctionNotFound"
VERSION_MISMATCH = "VersionMismatch"
REJECTED = Result()  # the work goes back to the hub, which offers it again later and later
_KINDS = {Trigger.ORCHESTRATION: "orchestrator", Trigger.ACTIVITY: "activity", Trigger.ENTITY: "entity"}


def failure_details(failure: Failure) -> pb.TaskFailureDetails:
    """A failure as orchestrators see it. A name that nothing answers to is not worth a retry."""
    return pb.TaskFailureDetails(
        errorType=failure.type,
        errorMessage=failure.message,
        stackTrace={"value": failure.trace},
        isNonRetriable=failure.type == UNKNOWN_FUNCTION,
    )


def _line(details: pb.TaskFailureDetails) -> str:
    """A failure as it is told to people: without the type's module."""
    return f"{details.errorType.rpartition('.')[2]}: {details.errorMessage}"


def _parse(body: bytes, response: Message) -> Failure | None:
    """Fill the response; a failure when the function returned something else."""
    try:
        response.ParseFromString(body)
    except DecodeError as error:
        return Failure(
            "InvalidResponse", f"the function did not return what the durable SDK returns: {error}"
        )
    return None


def _started(request: pb.OrchestratorRequest) -> pb.ExecutionStartedEvent:
    """The last start event, which is the one that counts after continue_as_new."""
    for events in (request.newEvents, request.pastEvents):
        for event in reversed(events):
            if event.HasField("executionStarted"):
                return event.executionStarted
    raise AssertionError(f"orchestration {request.instanceId} has no start event")


def _complete_children(response: pb.OrchestratorResponse, default: str) -> None:
    """Children that an orchestrator gave no version have that of this app."""
    for action in response.actions:
        if action.HasField("createSubOrchestration") and not optional(
            action.createSubOrchestration, "version"
        ):
            action.createSubOrchestration.version.value = default


def _complete_started(result: pb.EntityBatchResult, default: str) -> None:
    """Likewise the orchestrations that an entity starts."""
    for action in result.actions:
        started = action.startNewOrchestration
        if action.HasField("startNewOrchestration") and not optional(started, "version"):
            started.version.value = default


def _failed_orchestration(failure: Failure) -> pb.OrchestratorResponse:
    completion = pb.CompleteOrchestrationAction(
        orchestrationStatus=pb.ORCHESTRATION_STATUS_FAILED, failureDetails=failure_details(failure)
    )
    return pb.OrchestratorResponse(actions=[pb.OrchestratorAction(completeOrchestration=completion)])


def _failed_operations(request: pb.EntityBatchRequest, failure: Failure) -> pb.EntityBatchResult:
    """Every operation fails and the state stays as it was."""
    failed = pb.OperationResult(failure=pb.OperationResultFailure(failureDetails=failure_details(failure)))
    result = pb.EntityBatchResult(results=[failed] * len(request.operations))
    if request.HasField("entityState"):
        result.entityState.CopyFrom(request.entityState)
    return result
