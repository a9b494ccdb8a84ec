"""The task hub as an app's clients meet it: by the rules of the app's host.json."""

from collections.abc import Collection
from dataclasses import dataclass

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc

from aos.local.taskhub import HubError, TaskHub
from aos.local.taskhub.records import TERMINAL
from aos.local.taskhub.wire import optional

_ALL_STATUSES = [
    *TERMINAL,
    pb.ORCHESTRATION_STATUS_PENDING,
    pb.ORCHESTRATION_STATUS_RUNNING,
    pb.ORCHESTRATION_STATUS_SUSPENDED,
]


@dataclass(frozen=True, slots=True)
class ClientRules:
    """What the Durable extension does with a client's request before it reaches the hub.

    `orchestrators` are the names that may be started, in lower case (`None`: any). `events_must_arrive`
    is `throwStatusExceptionsOnRaiseEvent`: an event for an instance that is not there or has ended is an
    error (true) or is dropped (false); when it is `None` the one is an error, the other dropped.
    """

    orchestrators: Collection[str] | None = None
    default_version: str | None = None
    replaces_running: bool = False
    events_must_arrive: bool | None = None

    def completed(self, request: pb.CreateInstanceRequest) -> pb.CreateInstanceRequest:
        """The request with what the client left open; `HubError` when nothing answers to its name."""
        if self.orchestrators is not None and request.name.lower() not in self.orchestrators:
            known = ", ".join(sorted(self.orchestrators)) or "none"
            raise HubError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"the orchestrator function {request.name!r} does not exist or is disabled;"
                f" this app has: {known}",
            )
        if self.default_version and not optional(request, "version"):
            request.version.value = self.default_version
        if self.replaces_running and not request.HasField("orchestrationIdReusePolicy"):
            request.orchestrationIdReusePolicy.replaceableStatus.extend(_ALL_STATUSES)
        return request


class AppHub(TaskHub):
    """A task hub whose clients are bound to `rules`, which change with each version of the app."""

    rules = ClientRules()

    async def start_instance(self, request: pb.CreateInstanceRequest) -> pb.CreateInstanceResponse:
        """Start an instance, completed by the rules."""
        return await super().start_instance(self.rules.completed(request))

    async def raise_event(self, request: pb.RaiseEventRequest) -> pb.RaiseEventResponse:
        """Send an external event, if the rules let it go."""
        must_arrive = self.rules.events_must_arrive
        if must_arrive is None:
            return await super().raise_event(request)
        found = await self.get_instance(pb.GetInstanceRequest(instanceId=request.instanceId))
        status = found.orchestrationState.orchestrationStatus
        if must_arrive and found.exists and status in TERMINAL:
            state = pb.OrchestrationStatus.Name(status).removeprefix("ORCHESTRATION_STATUS_").capitalize()
            raise HubError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"cannot raise event {request.name} for orchestration instance {request.instanceId}"
                f" because the instance is in {state} state",
            )
        if not must_arrive and not found.exists:
            return pb.RaiseEventResponse()
        return await super().raise_event(request)
