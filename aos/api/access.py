"""Who calls, and what of the system a request may use: the dependencies of every route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from aos.kernel.errors import Forbidden, Unauthenticated
from aos.services.auth.principal import OPERATOR, VIEWER, Principal, require
from aos.services.system import System


class AgentDirectory(Protocol):
    """Knows how the agents' durable instances are."""

    async def states(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the JSON of each agent instance that exists, by the agent's name."""
        ...


def system_of(request: Request) -> System:
    """Return the system that the app serves."""
    system: System = request.app.state.system
    return system


def agents_of(request: Request) -> AgentDirectory:
    """Return the directory of agents that the app was made with."""
    agents: AgentDirectory = request.app.state.agents
    return agents


Served = Annotated[System, Depends(system_of)]
Agents = Annotated[AgentDirectory, Depends(agents_of)]

_bearer = HTTPBearer(
    scheme_name="apiKey",
    bearerFormat="aos_...",
    description="An API key: `Authorization: Bearer aos_...`",
    auto_error=False,
)


async def authenticated(
    system: Served, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> Principal:
    """Return who calls.

    Raises:
        Unauthenticated: there is no key, or it is not valid.
        Forbidden: the key is another tenant's.
    """
    if credentials is None:
        raise Unauthenticated("an API key is needed: Authorization: Bearer aos_...")
    principal = await system.keys.authenticate(credentials.credentials)
    if principal.tenant != system.settings.tenant:
        raise Forbidden("this key is another tenant's")
    return principal


Caller = Annotated[Principal, Depends(authenticated)]
"""Anybody with a key."""


def _having(role: str) -> Callable[[Caller], Awaitable[Principal]]:
    async def caller(principal: Caller) -> Principal:
        require(principal, role)
        return principal

    return caller


Viewer = Annotated[Principal, Depends(_having(VIEWER))]
"""A caller who may read."""
Operator = Annotated[Principal, Depends(_having(OPERATOR))]
"""A caller who may start, cancel and resolve."""
