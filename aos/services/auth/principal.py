"""Who a caller is, and what they may be asked to be."""

from __future__ import annotations

from dataclasses import dataclass

from aos.kernel.errors import Forbidden

OPERATOR = "operator"
"""Starts and cancels runs, and resolves unknown effects."""
APPROVER = "approver"
"""Decides approvals that ask for no other role."""
VIEWER = "viewer"
"""Sees runs, agents and dossiers. Operators and approvers see them too."""

_INCLUDES = {VIEWER: frozenset({VIEWER, OPERATOR, APPROVER})}


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. Applications may give roles of their own, such as ``board``."""

    id: str
    """The id of the key, or of the person or application in its directory. Nobody else ever has it."""
    name: str
    """For people. It can change, and others can have the same."""
    tenant: str
    roles: frozenset[str]

    @property
    def actor(self) -> str:
        """Who this is in records: the id stands last, whatever the name says."""
        return f"user:{self.name} ({self.id})"


def require(principal: Principal, role: str) -> None:
    """Refuse a caller who has not the role.

    Raises:
        Forbidden: naming the role.
    """
    if not principal.roles & _INCLUDES.get(role, frozenset({role})):
        raise Forbidden(f"this needs the role {role!r}", role=role)
