"""The management API of entities: their state, signals to them, lists of them."""

import json
import uuid
from collections.abc import Collection

import durabletask.internal.orchestrator_service_pb2 as pb
from aiohttp import web
from google.protobuf.wrappers_pb2 import Int32Value

from aos.local.host.answers import BadRequest, body_of, document, empty, json_of
from aos.local.host.management.documents import entity_document, payload
from aos.local.host.management.pages import paged, token_of
from aos.local.host.management.parameters import Parameters
from aos.local.taskhub import TaskHub
from aos.local.taskhub.wire import optional, text


class Entities:
    """Answers requests about entities; `names` are those that the app has functions for, in lower case."""

    def __init__(self, hub: TaskHub, names: Collection[str]) -> None:
        self._hub = hub
        self._names = names

    async def state(self, name: str, key: str) -> web.Response:
        """`GET entities/{name}/{key}`: the state, whatever JSON it is."""
        wanted = pb.GetEntityRequest(instanceId=_entity_id(name, key), includeState=True)
        found = await self._hub.get_entity(wanted)
        if not found.exists:
            return empty(404)
        return document(200, payload(optional(found.entity, "serializedState")))

    async def query(self, request: web.BaseRequest, parameters: Parameters, name: str) -> web.Response:
        """`GET entities/{name?}`: a page of those that match."""
        top = parameters.count("top")
        query = pb.EntityQuery(
            instanceIdStartsWith=text(f"@{name.lower()}@" if name else None),
            lastModifiedFrom=parameters.instant("lastOperationTimeFrom"),
            lastModifiedTo=parameters.instant("lastOperationTimeTo"),
            includeState=parameters.flag("fetchState", default=False),
            pageSize=Int32Value(value=top) if top else None,
            continuationToken=text(token_of(request)),
        )
        page = await self._hub.query_entities(pb.QueryEntitiesRequest(query=query))
        return paged([entity_document(each) for each in page.entities], optional(page, "continuationToken"))

    async def signal(
        self, request: web.BaseRequest, parameters: Parameters, name: str, key: str
    ) -> web.Response:
        """`POST entities/{name}/{key}?op=...`: JSON, or any text, is the operation's input."""
        return await self._signal(request, name, key, parameters.text("op") or "")

    async def delete(self, request: web.BaseRequest, name: str, key: str) -> web.Response:
        """`DELETE entities/{name}/{key}`: a signal too, of the operation `delete`."""
        return await self._signal(request, name, key, "delete")

    async def _signal(self, request: web.BaseRequest, name: str, key: str, operation: str) -> web.Response:
        if name.lower() not in self._names:
            known = ", ".join(sorted(self._names)) or "none"
            raise BadRequest(f"the entity {name!r} does not exist or is disabled; this app has: {known}")
        if not key:  # the extension takes one without, and the SDK for Python then fails with it
            raise BadRequest(f"an entity needs a key: entities/{name}/...")
        body = await body_of(request)
        given = body if request.content_type == "application/json" else json.dumps(body)
        await self._hub.signal_entity(
            pb.SignalEntityRequest(
                instanceId=_entity_id(name, key),
                name=operation,
                input=text(json_of(given) if body else None),
                requestId=str(uuid.uuid4()),
            )
        )
        return empty(202)


def _entity_id(name: str, key: str) -> str:
    if any(char in "/\\#?" or ord(char) < ord(" ") for char in key):
        raise BadRequest("Entity keys must not contain /, \\, #, ?, or control characters.")
    return f"@{name.lower()}@{key}"
