"""The management API of orchestration instances: start, status, events, and what ends or repeats them."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
from aiohttp import web

from aos.local.host.answers import BadRequest, body_of, document, empty, error, json_of
from aos.local.host.management.documents import payload, status_document
from aos.local.host.management.history import Shown, history_document
from aos.local.host.management.links import Links
from aos.local.host.management.pages import paged, token_of
from aos.local.host.management.parameters import Parameters
from aos.local.taskhub import TaskHub
from aos.local.taskhub.wire import optional, text

_ENDED = {
    pb.ORCHESTRATION_STATUS_COMPLETED,
    pb.ORCHESTRATION_STATUS_FAILED,
    pb.ORCHESTRATION_STATUS_CANCELED,
    pb.ORCHESTRATION_STATUS_TERMINATED,
}
_LONGEST_ID = 256
_STATUS_RETRY_AFTER = "5"
_START_RETRY_AFTER = "10"

type Operation = Callable[[str, Parameters], Coroutine[Any, Any, None]]


class Instances:
    """Answers requests about instances. `HubError` and `BadRequest` pass through to the caller."""

    def __init__(self, hub: TaskHub, links: Links) -> None:
        self._hub = hub
        self._links = links
        self._orders: dict[str, Operation] = {
            "terminate": self._terminate,
            "suspend": self._suspend,
            "resume": self._resume,
        }

    # -- one instance

    async def start(
        self, request: web.BaseRequest, parameters: Parameters, name: str, instance_id: str
    ) -> web.Response:
        """`POST orchestrators/{name}/{instanceId?}`: the body is the input."""
        _check_id(instance_id)
        body = await body_of(request)
        creation = pb.CreateInstanceRequest(
            name=name, instanceId=instance_id, input=text(json_of(body) if body else None)
        )
        started = await self._hub.start_instance(creation)
        return await self._started(request, parameters, started.instanceId)

    async def status(
        self, request: web.BaseRequest, parameters: Parameters, instance_id: str
    ) -> web.Response:
        """`GET instances/{id}`: 202 while it runs, 200 or 500 when it has ended."""
        shown = Shown(
            inputs=parameters.flag("showInput", default=True),
            outputs=parameters.flag("showHistoryOutput", default=False),
        )
        failed_is_500 = parameters.flag("returnInternalServerErrorOnFailure", default=False)
        with_history = parameters.flag("showHistory", default=False)
        state = await self._state(instance_id)
        if state is None:
            return empty(404)
        answer = status_document(state, with_input=shown.inputs)
        if with_history and state.orchestrationStatus != pb.ORCHESTRATION_STATUS_PENDING:
            answer["historyEvents"] = await self._history(instance_id, shown)
        if state.orchestrationStatus not in _ENDED:
            location = f"{self._links.seen_by(request).origin}{request.raw_path}"
            return document(202, answer, {"Location": location, "Retry-After": _STATUS_RETRY_AFTER})
        failed = state.orchestrationStatus == pb.ORCHESTRATION_STATUS_FAILED
        return document(500 if failed and failed_is_500 else 200, answer)

    async def raise_event(self, request: web.BaseRequest, instance_id: str, event_name: str) -> web.Response:
        """`POST instances/{id}/raiseEvent/{name}`: the body is the event's data."""
        state = await self._state(instance_id)
        if state is None or state.orchestrationStatus in _ENDED:
            return empty(404 if state is None else 410)
        if request.content_type != "application/json":
            raise BadRequest("Only application/json request content is supported")
        data = json_of(await body_of(request))
        await self._hub.raise_event(
            pb.RaiseEventRequest(instanceId=instance_id, name=event_name, input=text(data))
        )
        return empty(202)

    async def order(
        self, request: web.BaseRequest, parameters: Parameters, instance_id: str, operation: str
    ) -> web.Response:
        """`POST instances/{id}/{operation}`; 404 for an operation that there is not."""
        operation = operation.lower()
        if operation == "restart":
            return await self._restart(request, parameters, instance_id)
        if operation == "rewind":
            return await self._rewind(parameters, instance_id)
        ordered = self._orders.get(operation)
        state = await self._state(instance_id) if ordered is not None else None
        if ordered is None or state is None:
            return empty(404)
        if state.orchestrationStatus in _ENDED:
            return empty(410)
        suspended = state.orchestrationStatus == pb.ORCHESTRATION_STATUS_SUSPENDED
        if (operation, suspended) in (("suspend", True), ("resume", False)):
            return error(
                409, f"cannot {operation} the instance: it is {'' if suspended else 'not '}suspended"
            )
        await ordered(instance_id, parameters)
        return empty(202)

    async def _terminate(self, instance_id: str, parameters: Parameters) -> None:
        """The reason becomes the output, which is JSON as every output."""
        reason = parameters.text("reason")
        output = None if reason is None else json.dumps(reason)
        await self._hub.terminate_instance(pb.TerminateRequest(instanceId=instance_id, output=text(output)))

    async def _suspend(self, instance_id: str, parameters: Parameters) -> None:
        await self._hub.suspend_instance(
            pb.SuspendRequest(instanceId=instance_id, reason=text(parameters.text("reason")))
        )

    async def _resume(self, instance_id: str, parameters: Parameters) -> None:
        await self._hub.resume_instance(
            pb.ResumeRequest(instanceId=instance_id, reason=text(parameters.text("reason")))
        )

    async def _rewind(self, parameters: Parameters, instance_id: str) -> web.Response:
        state = await self._state(instance_id)
        if state is None:
            return empty(404)
        if state.orchestrationStatus != pb.ORCHESTRATION_STATUS_FAILED:
            return (
                empty(410)
                if state.orchestrationStatus in _ENDED
                else error(412, "only a failed instance can be rewound")
            )
        await self._hub.rewind_instance(
            pb.RewindInstanceRequest(instanceId=instance_id, reason=text(parameters.text("reason")))
        )
        return empty(202)

    async def _restart(
        self, request: web.BaseRequest, parameters: Parameters, instance_id: str
    ) -> web.Response:
        if await self._state(instance_id) is None:
            raise BadRequest("InstanceId does not match a valid orchestration instance.")
        anew = parameters.flag("restartWithNewInstanceId", default=True)
        restarted = await self._hub.restart_instance(
            pb.RestartInstanceRequest(instanceId=instance_id, restartWithNewInstanceId=anew)
        )
        return await self._started(request, parameters, restarted.instanceId)

    async def purge(self, instance_id: str) -> web.Response:
        """`DELETE instances/{id}`; one that has not ended stays."""
        if await self._state(instance_id) is None:
            return empty(404)
        purged = await self._hub.purge_instances(pb.PurgeInstancesRequest(instanceId=instance_id))
        return document(200, {"instancesDeleted": purged.deletedInstanceCount})

    # -- many instances

    async def query(self, request: web.BaseRequest, parameters: Parameters) -> web.Response:
        """`GET instances`: a page of those that match, oldest first."""
        query = pb.InstanceQuery(
            runtimeStatus=parameters.statuses("runtimeStatus"),
            createdTimeFrom=parameters.instant("createdTimeFrom"),
            createdTimeTo=parameters.instant("createdTimeTo"),
            maxInstanceCount=parameters.count("top") or 0,
            instanceIdPrefix=text(parameters.text("instanceIdPrefix")),
            continuationToken=text(token_of(request)),
            fetchInputsAndOutputs=True,
        )
        with_input = parameters.flag("showInput", default=True)
        page = await self._hub.query_instances(pb.QueryInstancesRequest(query=query))
        found = [status_document(state, with_input=with_input) for state in page.orchestrationState]
        return paged(found, optional(page, "continuationToken"))

    async def purge_matching(self, parameters: Parameters) -> web.Response:
        """`DELETE instances`: all that have ended, were created in a span of time and have a status named."""
        created_from = parameters.instant("createdTimeFrom")
        if created_from is None:
            raise BadRequest("Please provide value for 'createdTimeFrom' parameter.")
        wanted = pb.PurgeInstanceFilter(
            createdTimeFrom=created_from,
            createdTimeTo=parameters.instant("createdTimeTo"),
            runtimeStatus=parameters.statuses("runtimeStatus"),
        )
        purged = await self._hub.purge_instances(pb.PurgeInstancesRequest(purgeInstanceFilter=wanted))
        if not purged.deletedInstanceCount:
            return empty(404)
        return document(200, {"instancesDeleted": purged.deletedInstanceCount})

    # -- what these share

    async def _state(self, instance_id: str) -> pb.OrchestrationState | None:
        found = await self._hub.get_instance(
            pb.GetInstanceRequest(instanceId=instance_id, getInputsAndOutputs=True)
        )
        return found.orchestrationState if found.exists else None

    async def _history(self, instance_id: str, shown: Shown) -> list[dict[str, Any]]:
        request = pb.StreamInstanceHistoryRequest(instanceId=instance_id)
        chunks = [chunk async for chunk in self._hub.stream_instance_history(request)]
        return history_document((event for chunk in chunks for event in chunk.events), shown)

    async def _started(
        self, request: web.BaseRequest, parameters: Parameters, instance_id: str
    ) -> web.Response:
        """The links to an instance; or what it ended with, when it is to be waited for and ends in time."""
        timeout_s, interval_s = parameters.seconds("timeout"), parameters.seconds("pollingInterval")
        if timeout_s is not None:
            if interval_s is not None and interval_s > timeout_s:
                raise BadRequest("the parameter pollingInterval must not be greater than timeout")
            ended = await self._ended(instance_id, timeout_s)
            if ended is not None:
                return ended
        links = self._links.seen_by(request).of_instance(instance_id)
        headers = {"Location": links["statusQueryGetUri"], "Retry-After": _START_RETRY_AFTER}
        return document(202, links, headers)

    async def _ended(self, instance_id: str, timeout_s: float) -> web.Response | None:
        wanted = pb.GetInstanceRequest(instanceId=instance_id, getInputsAndOutputs=True)
        try:
            async with asyncio.timeout(timeout_s):
                found = await self._hub.wait_for_instance_completion(wanted)
        except TimeoutError:
            return None
        if not found.exists:
            return None
        state = found.orchestrationState
        if state.orchestrationStatus == pb.ORCHESTRATION_STATUS_COMPLETED:
            return document(200, payload(optional(state, "output")))
        return document(200, status_document(state))


def _check_id(instance_id: str) -> None:
    if instance_id.startswith("@"):
        raise BadRequest("Orchestration instance ids must not start with @.")
    if any(char in "/\\#?" or ord(char) < ord(" ") or "\x7f" <= char <= "\x9f" for char in instance_id):
        raise BadRequest("Orchestration instance ids must not contain /, \\, #, ?, or control characters.")
    if len(instance_id) > _LONGEST_ID:
        raise BadRequest(f"Instance ID lengths must not exceed {_LONGEST_ID} characters.")
