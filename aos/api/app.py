"""The FastAPI application."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from fastapi import APIRouter, Depends, FastAPI

from aos.api import docs
from aos.api.access import AgentDirectory, authenticated, writable
from aos.api.problems import Problem, handle_errors
from aos.api.routers import agents as agents_router
from aos.api.routers import audit, health, runs, workflows
from aos.services.system import System

VERSION = "1"
"""Of the API: the same as long as what clients rely on stays."""
_DESCRIPTION = """
An operating system for AI agents: start workflows, follow their runs, decide what they wait for, and take
away a record that verifies offline. Every error is a problem document (RFC 9457).
"""


class _Api(FastAPI):
    """FastAPI, whose description tells of the problem documents too."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI description."""
        described = super().openapi()
        schemas = described["components"]["schemas"]
        schemas["Problem"] = Problem.model_json_schema()
        # FastAPI tells of its own errors where a route has parameters; ours never look like them.
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for methods in described["paths"].values():
            for operation in methods.values():
                _drop_foreign_errors(operation["responses"])
        return described


def _drop_foreign_errors(responses: dict[str, Any]) -> None:
    if "application/json" in responses.get("422", {}).get("content", {}):
        del responses["422"]


def _is_probe(scope: MutableMapping[str, Any]) -> bool:
    """Whether somebody only asks whether AOS is there: every few seconds, for ever."""
    return str(scope["path"]).startswith("/health/")


def create_app(system: System, agents: AgentDirectory) -> FastAPI:
    """Return the API of a system.

    Everything under ``/api`` asks for a key, whatever its router says.
    """
    app = _Api(
        title="AOS",
        version=VERSION,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        telemetry={"operation_spans": False, "logs": False, "exclude": _is_probe},
    )
    app.state.system = system
    app.state.agents = agents
    api = APIRouter(prefix="/api", dependencies=[Depends(authenticated), Depends(writable)])
    for module in (workflows, runs, agents_router, audit):
        api.include_router(module.router)
    app.include_router(api)
    app.include_router(health.router)
    app.include_router(docs.router)
    handle_errors(app)
    return app
