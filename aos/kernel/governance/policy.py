"""A policy question and its answer, as values; what answers it is behind the ``PolicyEngine`` port."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from aos.kernel.canonical import Json


class Verdict(StrEnum):
    """What a decision says."""

    ALLOW = "allow"
    DENY = "deny"
    REQUIRES_APPROVAL = "requires_approval"
    """Allowed once each of the decision's roles has approved this very action."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A user, an agent, a run, a tool...: what acts, or is acted upon."""

    type: str
    id: str

    def to_json(self) -> dict[str, Any]:
        """Return the entity as a JSON object."""
        return {"type": self.type, "id": self.id}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Entity:
        """Read what ``to_json`` wrote."""
        return Entity(value["type"], value["id"])


@dataclass(frozen=True, slots=True)
class PolicyRequest:
    """May ``principal`` do ``action`` to ``resource``, in this context?"""

    principal: Entity
    action: str
    """Such as ``tool.call``."""
    resource: Entity
    context: Mapping[str, Json] = field(default_factory=dict)
    entities: Mapping[Entity, Mapping[str, Json]] = field(default_factory=dict)
    """The attributes of the entities that the request names, such as a user's roles."""

    def to_json(self) -> dict[str, Any]:
        """Return the request as a JSON object."""
        return {
            "principal": self.principal.to_json(),
            "action": self.action,
            "resource": self.resource.to_json(),
            "context": dict(self.context),
            "entities": [
                {**entity.to_json(), "attributes": dict(attributes)}
                for entity, attributes in self.entities.items()
            ],
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> PolicyRequest:
        """Read what ``to_json`` wrote."""
        return PolicyRequest(
            principal=Entity.from_json(value["principal"]),
            action=value["action"],
            resource=Entity.from_json(value["resource"]),
            context=value["context"],
            entities={Entity.from_json(entity): entity["attributes"] for entity in value["entities"]},
        )


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    """The answer, with the ids of the policies that made it: none when nothing permits the action."""

    verdict: Verdict
    policies: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    """Who still has to approve; not empty exactly when approval is required."""
    errors: tuple[str, ...] = ()
    """What went wrong in the evaluation; not empty only in a denial."""

    @property
    def allowed(self) -> bool:
        """Whether the action may be done now."""
        return self.verdict is Verdict.ALLOW

    def to_json(self) -> dict[str, Any]:
        """Return the decision as a JSON object."""
        return {
            "verdict": self.verdict.value,
            "policies": list(self.policies),
            "roles": list(self.roles),
            "errors": list(self.errors),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> PolicyDecision:
        """Read what ``to_json`` wrote."""
        return PolicyDecision(
            verdict=Verdict(value["verdict"]),
            policies=tuple(value["policies"]),
            roles=tuple(value["roles"]),
            errors=tuple(value["errors"]),
        )


class PolicyEngine(Protocol):
    """Answers policy questions. It computes: it does no I/O, and never raises for a bad request."""

    def decide(self, request: PolicyRequest) -> PolicyDecision:
        """Decide; whatever cannot be evaluated is denied, with the errors."""
        ...
