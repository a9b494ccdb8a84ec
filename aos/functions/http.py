"""The HTTP function: one catch-all route, behind which the whole API answers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request, Response, web
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from aos.api.app import create_app
from aos.functions.process import engine, system

# In Azure the extension answers in front of every function. Its own /docs, /redoc and /openapi.json would
# hide ours, and leave the invocation behind each of them waiting for a request that never comes. Its own
# spans and metrics would tell of each request a second time, and of every probe.
web.FastAPI = functools.partial(
    FastAPI, openapi_url=None, telemetry={"tracing": False, "metrics": False, "logs": False}
)

blueprint = func.Blueprint()


class _Agents:
    """The agents' states, from their entities."""

    async def states(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the state of every agent that ever worked."""
        return dict(await engine().states([agent.name for agent in system().application.agents]))


@functools.cache
def _api() -> FastAPI:
    return create_app(system(), _Agents())


class _Forward(Response):
    """Hands the request over to the API, whose response streams as it is made."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _api()(scope, receive, send)


@blueprint.route(
    route="{*path}",
    methods=["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"],
    auth_level=func.AuthLevel.ANONYMOUS,
)
@blueprint.generic_input_binding(arg_name="client", type="durableClient")
async def api(req: Request, client: str) -> Response:
    """Answer everything under ``/``. AOS authenticates; to Functions the route is anonymous."""
    del req
    engine().attach(client)
    return _Forward()
