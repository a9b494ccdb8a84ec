"""One durable client a process, made from the binding that the host hands in.

The SDK's own client binding opens a channel for every invocation and closes it when the function
returns, which a streaming response outlives.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import grpc
from azure.durable_functions import DurableFunctionsClient

from aos.functions.entity_ids import agent_entity, budget_entity
from aos.kernel.errors import Unavailable

_LOG = logging.getLogger(__name__)
_GONE = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION)


class DurableEngine:
    """The durable engine as the rest of AOS sees it: ``Orchestrations`` and ``AgentDirectory``."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._client: DurableFunctionsClient | None = None

    def attach(self, binding: str) -> None:
        """Take the client binding's raw configuration; the first one is as good as any."""
        if self._client is None:
            self._client = DurableFunctionsClient(binding)

    async def start(self, run: str) -> None:
        """Start the run's orchestration; starting it again is a no-op.

        Raises:
            Unavailable: the engine does not answer.
        """
        try:
            await self._connected.schedule_new_orchestration("workflow", input={"run": run}, instance_id=run)
        except grpc.RpcError as error:
            if _code(error) is not grpc.StatusCode.ALREADY_EXISTS:
                raise Unavailable(f"the durable engine does not start runs: {_details(error)}") from error

    async def raise_event(self, instance: str, name: str, data: Mapping[str, Any]) -> None:
        """Ring; a bell that cannot be rung is only logged: rows are the truth, and a sweep rings again."""
        try:
            await self._connected.raise_orchestration_event(instance, name, data=dict(data))
        except grpc.RpcError as error:
            level = logging.DEBUG if _code(error) in _GONE else logging.WARNING
            _LOG.log(level, "event %s did not reach %s: %s", name, instance, _details(error))

    async def states(self, agents: list[str]) -> dict[str, Mapping[str, Any]]:
        """Return what the entities say of these agents; those that never worked are left out.

        Raises:
            Unavailable: the engine does not answer.
        """
        found: dict[str, Mapping[str, Any]] = {}
        for agent in agents:
            try:
                entity = await self._connected.get_entity(agent_entity(self._tenant, agent))
            except grpc.RpcError as error:
                raise Unavailable(f"the durable engine does not answer: {_details(error)}") from error
            state = entity.get_typed_state(dict) if entity and entity.includes_state else None
            if state:
                found[agent] = state
        return found

    async def signal_budget(self, scope: str, operation: str, arguments: Mapping[str, Any]) -> None:
        """Signal the tenant's budget of this scope.

        Raises:
            Unavailable: the engine does not answer.
        """
        entity = budget_entity(f"{self._tenant}.{scope}")
        try:
            await self._connected.signal_entity(entity, operation, dict(arguments))
        except grpc.RpcError as error:
            raise Unavailable(f"the durable engine does not answer: {_details(error)}") from error

    @property
    def _connected(self) -> DurableFunctionsClient:
        if self._client is None:
            raise Unavailable("the durable engine is not known yet")
        return self._client


def _code(error: grpc.RpcError) -> grpc.StatusCode | None:
    return error.code() if isinstance(error, grpc.aio.AioRpcError) else None


def _details(error: grpc.RpcError) -> str:
    return str(error.details() if isinstance(error, grpc.aio.AioRpcError) else error)
