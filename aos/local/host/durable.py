"""Durable functions: work items from the hub to the worker, and what came of them back."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterable
from functools import partial

import durabletask.internal.orchestrator_service_pb2 as pb
from google.protobuf.message import Message

from aos.local.host.calls import Failure, Result
from aos.local.host.durablejson import DurableSettings
from aos.local.host.durableresults import (
    UNKNOWN_FUNCTION,
    VERSION_MISMATCH,
    complete_children,
    complete_started,
    failed_operations,
    failed_orchestration,
    failure_details,
    line,
    parse,
)
from aos.local.host.functions import Function, Trigger
from aos.local.host.process import WorkerProcess
from aos.local.host.supervisor import Supervisor, Work
from aos.local.host.versions import FailureStrategy
from aos.local.taskhub import HubError, TaskHub
from aos.local.taskhub.dispatch import Lease
from aos.local.taskhub.records import Activity, Entity, Instance
from aos.local.taskhub.workitems import batch_request, next_turn_request, turn_request

_WORKER = "aos-local-host"
_AT_A_STRETCH = 16  # pieces of work begun before anything else has its turn: the workers' answers, above all


class DurablePump:
    """Takes work up to the limits of host.json and runs each piece as an invocation.

    A turn goes to the worker that keeps its orchestration alive, without the history that this worker has
    read before, but for some turns: then all is replayed, which shows whether the orchestrator is
    deterministic, as each turn does in Azure.
    """

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
        self._waiting: set[str] = set()  # instances that it was told of, which are of another version
        self._loop: asyncio.Task[None] | None = None
        self._paused = False

    def start(self) -> None:
        """Begin to take work."""
        self._loop = self._supervisor.spawn(self._take())

    def pause(self) -> None:
        """Take no more work. What the hub still hands out is given back when the pump closes."""
        self._paused = True

    async def close(self) -> None:
        """Give back what is not done (the worker is gone by now: nothing runs on)."""
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
        begun = itertools.count(1)
        async with contextlib.aclosing(self._hub.leases(request)) as leases:  # gives back what is leased
            async for lease in leases:
                if lease is not None and not self._paused:
                    self._begin(lease)
                    if next(begun) % _AT_A_STRETCH == 0:
                        await asyncio.sleep(0)
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

    def _begin(self, lease: Lease) -> None:
        match lease.item:
            case Instance() as instance:
                self._begin_turn(lease, instance)
            case Activity() as activity:
                self._begin_activity(lease, activity)
            case Entity() as entity:
                self._begin_batch(lease, entity)

    # -- orchestrations

    def _begin_turn(self, lease: Lease, instance: Instance, *, whole: bool = False) -> None:
        function = self._orchestrator(instance)
        if isinstance(function, Failure):
            self._post_turn(lease, instance, failed_orchestration(function))
            return
        if function is None:
            self._hub.put_back(lease)
            return
        keeps = self._settings.keeps_orchestrations and function.takes_turns
        kept = instance.kept if keeps and not whole and not _replays(instance.turns) else None
        worker = self._supervisor.pick(kept.keeper if kept is not None else None)
        if worker is None:
            self._hub.put_back(lease)
            return
        if kept is not None and kept.keeper is worker:
            after, body = kept.after, next_turn_request(lease, instance, kept)
        else:
            after, body = None, turn_request(lease, instance)
        head = {"instance": instance.id, "after": after, "token": lease.token if keeps else None}
        work = Work("orchestrator", function, body, head, instance.id)
        self._supervisor.begin(worker, work, partial(self._turn_ended, lease, instance, worker))

    def _orchestrator(self, instance: Instance) -> Function | Failure | None:
        """What runs it; None when it is to wait for another version of the app."""
        versions = self._settings.versions
        mismatch = versions.mismatch(instance.version)
        if mismatch is None:
            return self._function(Trigger.ORCHESTRATION, instance.name)
        if versions.failure is FailureStrategy.FAIL:
            return Failure(VERSION_MISMATCH, mismatch)
        if instance.id not in self._waiting:
            self._waiting.add(instance.id)
            self._supervisor.say(f"orchestration {instance.id} of {instance.name} waits: {mismatch}")
        return None

    def _turn_ended(
        self, lease: Lease, instance: Instance, worker: WorkerProcess, result: Result | None
    ) -> None:
        if result is None:
            self._hub.put_back(lease)
        elif not result.lacks_history:
            lease.keeper = worker if result.kept else None
            response = pb.OrchestratorResponse()
            failure = result.failure or parse(result.body, response)
            if failure is not None:
                response = failed_orchestration(failure)
            else:
                self._tell_end(instance, response)
                if self._settings.versions.default:
                    complete_children(response, self._settings.versions.default)
            self._post_turn(lease, instance, response)
        elif self._hub.holds(lease):
            self._begin_turn(lease, instance, whole=True)

    def _tell_end(self, instance: Instance, response: pb.OrchestratorResponse) -> None:
        """Say that an orchestration fails: its function did not, it only told the SDK's answer."""
        for action in response.actions:
            end = action.completeOrchestration
            if end.orchestrationStatus == pb.ORCHESTRATION_STATUS_FAILED:
                why = line(end.failureDetails)
                self._supervisor.say(f"orchestration {instance.id} of {instance.name} failed: {why}")

    def _post_turn(self, lease: Lease, instance: Instance, response: pb.OrchestratorResponse) -> None:
        response.instanceId = instance.id
        response.completionToken = lease.token
        self._post(self._hub.post_turn, response)

    # -- activities

    def _begin_activity(self, lease: Lease, activity: Activity) -> None:
        ended = partial(self._activity_ended, lease, activity)
        function = self._function(Trigger.ACTIVITY, activity.name)
        if isinstance(function, Failure):
            ended(Result(failure=function))
            return
        request = pb.ActivityRequest.FromString(activity.request)
        body = (request.input.value if request.HasField("input") else "null").encode()
        self._run(lease, Work("activity", function, (body,), note=activity.instance), ended)

    def _activity_ended(self, lease: Lease, activity: Activity, result: Result) -> None:
        response = pb.ActivityResponse(
            instanceId=activity.instance, taskId=activity.task, completionToken=lease.token
        )
        if result.failure is not None:
            response.failureDetails.CopyFrom(failure_details(result.failure))
        elif result.body:
            response.result.value = result.body.decode()
        self._post(self._hub.post_activity, response)

    # -- entities

    def _begin_batch(self, lease: Lease, entity: Entity) -> None:
        body = batch_request(lease, entity)
        ended = partial(self._batch_ended, lease, body)
        function = self._function(Trigger.ENTITY, entity.key[0])
        if isinstance(function, Failure):
            ended(Result(failure=function))
            return
        self._run(lease, Work("entity", function, (body,), note=entity.id), ended)

    def _batch_ended(self, lease: Lease, encoded: bytes, result: Result) -> None:
        response = pb.EntityBatchResult()
        failure = result.failure or parse(result.body, response)
        if failure is not None:
            response = failed_operations(pb.EntityBatchRequest.FromString(encoded), failure)
        else:
            self._tell_failures(encoded, response)
            if self._settings.versions.default:
                complete_started(response, self._settings.versions.default)
        response.completionToken = lease.token
        self._post(self._hub.post_entity, response)

    def _tell_failures(self, encoded: bytes, result: pb.EntityBatchResult) -> None:
        """Say which operations failed: their function did not."""
        failed = [(at, each.failure) for at, each in enumerate(result.results) if each.HasField("failure")]
        request = pb.EntityBatchRequest.FromString(encoded) if failed else pb.EntityBatchRequest()
        for at, failure in failed:
            operation = request.operations[at].operation
            why = line(failure.failureDetails)
            self._supervisor.say(f"operation {operation} of entity {request.instanceId} failed: {why}")

    # -- what they have in common

    def _run(self, lease: Lease, work: Work, ended: Callable[[Result], None]) -> None:
        """Have it run by any worker; work that is lost with its worker is given back."""
        worker = self._supervisor.pick()
        if worker is None:
            self._hub.put_back(lease)
            return
        self._supervisor.begin(
            worker, work, lambda result: self._hub.put_back(lease) if result is None else ended(result)
        )

    def _post[M: Message](self, post: Callable[[M], None], response: M) -> None:
        try:
            post(response)
        except HubError as error:
            what = type(response).__name__
            self._supervisor.say(f"the hub did not take what came of its work ({what}): {error}")

    def _function(self, trigger: Trigger, name: str) -> Function | Failure:
        function = self._functions.get((trigger, name.lower()))
        return self._unknown(trigger, name) if function is None else function

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


_KINDS = {Trigger.ORCHESTRATION: "orchestrator", Trigger.ACTIVITY: "activity", Trigger.ENTITY: "entity"}


def _replays(turns: int) -> bool:
    """Whether the turn after so many takes in the whole history again: after 1, 2, 4, 8, ...

    All replays of a long run together cost as much as its turns do, however long it is.
    """
    return turns & (turns - 1) == 0
