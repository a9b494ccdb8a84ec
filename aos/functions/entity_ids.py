"""The ids of the entities, which join parts with ``.`` and fit what every durable engine takes."""

from __future__ import annotations

from durabletask.entities import EntityInstanceId

from aos.kernel.ids import LONGEST_INSTANCE_ID, fitting


def agent_entity(tenant: str, agent: str) -> EntityInstanceId:
    """Return the id of an agent's instance."""
    return _entity("agent", f"{tenant}.{agent}")


def budget_entity(key: str) -> EntityInstanceId:
    """Return the id of a budget; its key is ``TENANT.SCOPE``."""
    return _entity("budget", key)


def _entity(name: str, key: str) -> EntityInstanceId:
    return EntityInstanceId(name, fitting(key, LONGEST_INSTANCE_ID - len(f"@{name}@")))
