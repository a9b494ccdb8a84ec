"""An approval: one person's word on one exact action, until it expires.

What is approved is the action's hash. Whoever decides must name the hash that they saw, so nobody
approves an action that changed under their hand. Times are seconds since the epoch, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from aos.kernel.canonical import Json, digest
from aos.kernel.errors import Conflict, IllegalTransition, InvalidInput


@dataclass(frozen=True, slots=True)
class Action:
    """What would be done: its kind (``tool.call``...), the name of its target, and its arguments."""

    kind: str
    name: str
    arguments: Json

    @property
    def hash(self) -> str:
        """The SHA-256 of the action's canonical encoding."""
        return digest({"kind": self.kind, "name": self.name, "arguments": self.arguments})


class ApprovalState(StrEnum):
    """Where an approval stands; every state but the first is final."""

    REQUESTED = "requested"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Decide:
    """``actor`` approves or rejects the action with this hash."""

    actor: str
    action_hash: str
    approve: bool
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Expire:
    """The time is ``at``. A timer that fires early, or after the end, changes nothing."""

    at: float


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Nobody needs the decision any more, the run being cancelled, say."""

    actor: str
    reason: str
    at: float


type Event = Decide | Expire | Withdraw


@dataclass(frozen=True, slots=True)
class Approval:
    """The request for a decision, and the decision."""

    action_hash: str
    role: str
    """The role that may decide; that the actor has it is checked before the event is made."""
    requested_at: float
    expires_at: float
    state: ApprovalState = ApprovalState.REQUESTED
    actor: str | None = None
    """Who decided or withdrew."""
    reason: str | None = None
    ended_at: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the approval as a JSON object."""
        return asdict(self) | {"state": self.state.value}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Approval:
        """Read what ``to_json`` wrote."""
        return Approval(**{**value, "state": ApprovalState(value["state"])})


def advance(approval: Approval, event: Event) -> Approval:
    """Apply ``event``; repeating the one that ended the approval changes nothing.

    Raises:
        Conflict: the action is another than was asked about, or the approval ended otherwise.
        IllegalTransition: a withdrawal after a decision.
        InvalidInput: no reason is given.
    """
    match event:
        case Decide():
            return _decide(approval, event)
        case Expire(at):
            due = approval.state is ApprovalState.REQUESTED and at >= approval.expires_at
            return replace(approval, state=ApprovalState.EXPIRED, ended_at=at) if due else approval
        case Withdraw():
            return _withdraw(approval, event)


def _decide(approval: Approval, event: Decide) -> Approval:
    _check_reason(event.reason)
    if event.action_hash != approval.action_hash:
        raise Conflict(
            "the action changed since it was shown: look at it again before deciding",
            requested=approval.action_hash,
            decided=event.action_hash,
        )
    verdict = ApprovalState.APPROVED if event.approve else ApprovalState.REJECTED
    if approval.state is not ApprovalState.REQUESTED:
        if (approval.state, approval.actor) == (verdict, event.actor):
            return approval
        raise _ended(approval)
    if event.at >= approval.expires_at:
        raise Conflict("the approval has expired", state=approval.state, expires_at=approval.expires_at)
    return replace(approval, state=verdict, actor=event.actor, reason=event.reason, ended_at=event.at)


def _withdraw(approval: Approval, event: Withdraw) -> Approval:
    _check_reason(event.reason)
    if approval.state is ApprovalState.WITHDRAWN:
        return approval
    if approval.state is not ApprovalState.REQUESTED:
        raise IllegalTransition(
            f"an approval that is {approval.state} does not take 'withdraw'; it takes nothing more",
            state=approval.state,
            event="withdraw",
            allowed=(),
        )
    return replace(
        approval,
        state=ApprovalState.WITHDRAWN,
        actor=event.actor,
        reason=event.reason,
        ended_at=event.at,
    )


def _ended(approval: Approval) -> Conflict:
    by = f" by {approval.actor}" if approval.actor else ""
    return Conflict(
        f"the approval was already {approval.state}{by}",
        state=approval.state,
        actor=approval.actor,
        ended_at=approval.ended_at,
    )


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise InvalidInput("a reason is needed", field="reason")
