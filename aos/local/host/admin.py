"""The host's own `/admin`: its state, the app's functions, running one by hand, and the keys."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from aos.local.host.answers import BadRequest, body_of, document, empty, error
from aos.local.host.door import Door, Level
from aos.local.host.functions import Function, Trigger
from aos.local.host.keys import MASTER_KEY
from aos.local.host.management.links import origin_of
from aos.local.host.serving import AppUnavailableError, Serving

_PING = ["host", "ping"]
_NO_KEYS = "there are no keys: the host was started without --enable-auth"


class Admin:
    """Answers requests for paths under `/admin`, all but the ping for those with the master key."""

    def __init__(self, serving: Serving, door: Door, status: Callable[[], dict[str, Any]]) -> None:
        self._serving = serving
        self._door = door
        self._status = status

    async def answer(self, request: web.BaseRequest, raw_path: str) -> web.Response:
        """Answer a request whose path begins with `/admin`."""
        path = [unquote(segment) for segment in raw_path.strip("/").split("/")[1:]]
        lowered = [segment.lower() for segment in path]
        if lowered != _PING and not self._door.admits(request, Level.ADMIN):
            return empty(401)
        try:
            answer = await self._dispatch(request, lowered, path)
        except BadRequest as cause:
            return error(400, str(cause))
        except AppUnavailableError as cause:
            return error(503, str(cause))
        return answer

    async def _dispatch(self, request: web.BaseRequest, lowered: list[str], path: list[str]) -> web.Response:
        reading = request.method in ("GET", "HEAD")
        match lowered:
            case ["host", "ping"]:
                return document(200, {}) if reading or request.method == "POST" else _only("GET, POST")
            case ["host", "status"]:
                return document(200, self._status()) if reading else _only("GET")
            case ["host", ("keys" | "functionkeys" | "systemkeys") as scope, *name] if len(name) < 2:
                return self._host_keys(request, scope, "".join(name)) if reading else _only("GET")
            case ["functions"]:
                return self._functions(request) if reading else _only("GET")
            case ["functions", _]:
                return await self._function(request, path[1])
            case ["functions", _, "keys", *name] if len(name) < 2:
                return self._function_keys(request, path[1], "".join(name)) if reading else _only("GET")
            case _:
                return empty(404)

    # -- functions

    def _functions(self, request: web.BaseRequest) -> web.Response:
        site = self._serving.current
        functions: Sequence[Function] = site.functions if site is not None else ()
        prefix = site.route_prefix if site is not None else ""
        return document(200, [function_document(each, origin_of(request), prefix) for each in functions])

    async def _function(self, request: web.BaseRequest, name: str) -> web.Response:
        """Describe a function, or run it: `POST` with `{"input": "..."}`."""
        site = await self._serving.loaded()
        function = _named(site.functions, name)
        if function is None:
            return empty(404)
        if request.method in ("GET", "HEAD"):
            return document(200, function_document(function, origin_of(request), site.route_prefix))
        if request.method != "POST":
            return _only("GET, POST")
        site.run_by_hand(function, _input_of(await body_of(request)))
        return empty(202)

    # -- keys

    def _host_keys(self, request: web.BaseRequest, scope: str, name: str) -> web.Response:
        ring = self._door.ring
        if ring is None:
            return error(404, _NO_KEYS)
        if scope != "systemkeys":
            return _keys(request, ring.host, name)
        return _keys(request, {**ring.system, MASTER_KEY: ring.master} if name else ring.system, name)

    def _function_keys(self, request: web.BaseRequest, function: str, name: str) -> web.Response:
        ring = self._door.ring
        if ring is None:
            return error(404, _NO_KEYS)
        known = ring.functions.get(function.lower())
        return empty(404) if known is None else _keys(request, known, name)


def _keys(request: web.BaseRequest, named: Mapping[str, str], name: str) -> web.Response:
    """All the keys, or the one of that name."""
    links = [{"rel": "self", "href": f"{origin_of(request)}{request.path}"}]
    if not name:
        listed = [{"name": each, "value": value} for each, value in named.items()]
        return document(200, {"keys": listed, "links": links})
    found = next((each for each in named if each.lower() == name), None)
    if found is None:
        return empty(404)
    return document(200, {"name": found, "value": named[found], "links": links})


def _named(functions: Sequence[Function], name: str) -> Function | None:
    return next((each for each in functions if each.name.lower() == name.lower()), None)


def _input_of(body: str) -> str:
    """The `input` of a request to run a function; what is not text is given to it as JSON."""
    try:
        asked = json.loads(body)
    except ValueError as cause:
        raise BadRequest(f'the body must be JSON, {{"input": "..."}}: {cause}') from cause
    if not isinstance(asked, dict):
        raise BadRequest('the body must be an object: {"input": "..."}')
    given = asked.get("input", "")
    if given is None:
        return ""
    return given if isinstance(given, str) else json.dumps(given)


def function_document(function: Function, origin: str, route_prefix: str) -> dict[str, Any]:
    """A function as the host's API describes it."""
    described: dict[str, Any] = {
        "name": function.name,
        "language": "python",
        "isDisabled": function.disabled,
        "href": f"{origin}/admin/functions/{function.name}",
        "invoke_url_template": None,
        "config": {"name": function.name, "bindings": list(function.bindings)},
    }
    if function.trigger is Trigger.HTTP:
        prefix = f"/{route_prefix}" if route_prefix else ""
        route = function.properties.get("route") or function.name
        described["invoke_url_template"] = f"{origin}{prefix}/{route}"
    return described


def _only(methods: str) -> web.Response:
    return web.Response(status=405, headers={"Allow": methods})
