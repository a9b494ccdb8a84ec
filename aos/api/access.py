"""Who calls, and what of the system a request may use: the dependencies of every route.

All of them are coroutines: FastAPI would hand a plain function to a thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from aos.kernel.errors import Forbidden, ReadOnly, Unauthenticated
from aos.services.auth.bearer import is_token
from aos.services.auth.principal import OPERATOR, VIEWER, Principal, require
from aos.services.system import System


class AgentDirectory(Protocol):
    """Knows how the agents' durable instances are."""

    async def states(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the JSON of each agent instance that exists, by the agent's name."""
        ...


async def system_of(request: Request) -> System:
    """Return the system that the app serves."""
    system: System = request.app.state.system
    return system


async def agents_of(request: Request) -> AgentDirectory:
    """Return the directory of agents that the app was made with."""
    agents: AgentDirectory = request.app.state.agents
    return agents


Served = Annotated[System, Depends(system_of)]
Agents = Annotated[AgentDirectory, Depends(agents_of)]

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_bearer = HTTPBearer(
    scheme_name="apiKey",
    bearerFormat="aos_...",
    description="An API key, `Authorization: Bearer aos_...`, or an access token of the Entra directory"
    " that this service trusts",
    auto_error=False,
)


async def authenticated(
    system: Served, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> Principal:
    """Return who calls.

    Raises:
        Unauthenticated: there is no key or token, or it is not valid.
        Forbidden: the key is another tenant's.
    """
    if credentials is None:
        raise Unauthenticated("an API key is needed: Authorization: Bearer aos_...")
    text = credentials.credentials
    if system.tokens is not None and is_token(text):
        return await system.tokens.authenticate(text)
    principal = await system.keys.authenticate(text)
    if principal.tenant != system.settings.tenant:
        raise Forbidden("this key is another tenant's")
    return principal


async def writable(system: Served, request: Request) -> None:
    """Refuse what would change something while this region stands by for another.

    Raises:
        ReadOnly: it does.
    """
    if system.settings.read_only and request.method not in _READING:
        raise ReadOnly("this region stands by and changes nothing: ask the primary one, or promote this one")


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
