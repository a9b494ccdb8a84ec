"""Which request of the management API is answered by what."""

from collections.abc import Sequence
from urllib.parse import unquote

import grpc
from aiohttp import web

from aos.local.host.answers import BadRequest, empty, error
from aos.local.host.functions import Function, Trigger
from aos.local.host.management.entities import Entities
from aos.local.host.management.instances import Instances
from aos.local.host.management.links import PATH, Links
from aos.local.host.management.parameters import Parameters
from aos.local.taskhub import HubError, TaskHub

_RAISE = "raiseevent"
_CODES = {
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 503,
    grpc.StatusCode.UNAVAILABLE: 503,
}


class Management:
    """The API over the hub of one version of the app; as with the extension a wrong method is 404."""

    def __init__(self, hub: TaskHub, hub_name: str, functions: Sequence[Function], links: Links) -> None:
        names = [each.durable_name.lower() for each in functions if each.trigger is Trigger.ENTITY]
        self._hub_name = hub_name
        self._instances = Instances(hub, links)
        self._entities = Entities(hub, names)

    async def answer(self, request: web.BaseRequest, raw_path: str) -> web.Response:
        """Answer a request whose path begins with that of the API."""
        parameters = Parameters(request.query.items())
        segments = [unquote(segment) for segment in raw_path[len(PATH) :].strip("/").split("/")]
        try:
            self._check_hub(parameters.text("taskHub"))
            return await self._dispatch(request, parameters, segments)
        except BadRequest as cause:
            return error(400, str(cause))
        except HubError as cause:
            return error(_CODES.get(cause.code, 500), str(cause))

    def _check_hub(self, named: str | None) -> None:
        if named is not None and named.lower() != self._hub_name.lower():
            raise BadRequest(f"this host serves the task hub {self._hub_name!r}, not {named!r}")

    async def _dispatch(
        self, request: web.BaseRequest, parameters: Parameters, segments: list[str]
    ) -> web.Response:
        match [request.method, segments[0].lower(), *segments[1:]]:
            case ["POST", "orchestrators", name]:
                return await self._instances.start(request, parameters, name, "")
            case ["POST", "orchestrators", name, instance_id]:
                return await self._instances.start(request, parameters, name, instance_id)
            case [_, "instances", *rest]:
                return await self._on_instances(request, parameters, rest)
            case [_, "entities", *rest]:
                return await self._on_entities(request, parameters, rest)
            case _:
                return empty(404)

    async def _on_instances(
        self, request: web.BaseRequest, parameters: Parameters, rest: list[str]
    ) -> web.Response:
        match [request.method, *rest]:
            case ["GET"]:
                return await self._instances.query(request, parameters)
            case ["DELETE"]:
                return await self._instances.purge_matching(parameters)
            case ["GET", instance_id]:
                return await self._instances.status(request, parameters, instance_id)
            case ["DELETE", instance_id]:
                return await self._instances.purge(instance_id)
            case ["POST", instance_id, operation]:
                return await self._instances.order(request, parameters, instance_id, operation)
            case ["POST", instance_id, operation, event_name] if operation.lower() == _RAISE:
                return await self._instances.raise_event(request, instance_id, event_name)
            case _:
                return empty(404)

    async def _on_entities(
        self, request: web.BaseRequest, parameters: Parameters, rest: list[str]
    ) -> web.Response:
        match [request.method, *rest]:
            case ["GET"]:
                return await self._entities.query(request, parameters, "")
            case ["GET", name]:
                return await self._entities.query(request, parameters, name)
            case ["GET", name, key]:
                return await self._entities.state(name, key)
            case ["POST", name, *key] if len(key) < 2:
                return await self._entities.signal(request, parameters, name, "".join(key))
            case ["DELETE", name, *key] if len(key) < 2:
                return await self._entities.delete(request, name, "".join(key))
            case _:
                return empty(404)
