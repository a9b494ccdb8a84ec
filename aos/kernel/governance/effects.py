"""The effect protocol: an effect happens once, or is known to be unknown.

One record stands for one effect. A worker *claims* it under a lease before it acts, and *settles* it
afterwards. The reducer returns the record to write; that the write happens only if the record is
still the one that was read (insert-if-absent, ETag) is the caller's part. A caller whose write is
refused reads again and claims again; but it first compares what it reads with what it wrote, since
the answer to a successful write can be lost, and then it holds the lease already.

``owner`` names one attempt, never a process: two attempts with one name would trust each other's lease.
Times are seconds since the epoch, UTC, on clocks that differ by less than the margin between the
deadline of the act and the end of its lease.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from aos.kernel.agents.definition import Effect
from aos.kernel.canonical import Json
from aos.kernel.errors import Conflict, IllegalTransition, InvalidInput, PolicyDenied
from aos.kernel.governance.policy import PolicyDecision
from aos.kernel.ids import derived_id


def effect_id(run: str, step: str, turn: int, call_index: int) -> str:
    """Return the id of an effect, which is also its idempotency key: the same in every attempt."""
    return derived_id("effect", run, step, turn, call_index)


class EffectState(StrEnum):
    """What is known of an effect."""

    CLAIMED = "claimed"
    """Somebody acts, or died while acting."""
    SETTLED = "settled"
    """The outcome is known; final."""
    UNKNOWN = "unknown"
    """It may have happened or not; an operator, or the late caller itself, will say."""
    RELEASED = "released"
    """It did not happen, as an operator or the attempt itself says: it may be claimed again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an effect ended."""

    ok: bool
    value: Json
    operator: str | None = None
    """Who said that it happened, when nobody saw the target's answer; ``value`` is then None."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """An operator's word on an effect whose outcome was unknown; gone from the record at the next claim."""

    happened: bool
    actor: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class EffectRecord:
    """What is written about one effect."""

    id: str
    state: EffectState
    kind: Effect
    """As declared when the effect was first claimed, whatever the tool declares since."""
    args_hash: str
    epoch: int
    """Grows with each attempt that may act."""
    owner: str
    lease_until: float
    claimed_at: float
    decision: PolicyDecision
    """The one that let the present epoch act."""
    outcome: Outcome | None = None
    ended_at: float | None = None
    """When it was settled or became unknown."""
    note: str | None = None
    """Why the outcome is unknown."""
    resolution: Resolution | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        return asdict(self) | {
            "state": self.state.value,
            "kind": self.kind.value,
            "decision": self.decision.to_json(),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> EffectRecord:
        """Read what ``to_json`` wrote."""
        outcome, resolution = value["outcome"], value["resolution"]
        typed = {
            "state": EffectState(value["state"]),
            "kind": Effect(value["kind"]),
            "decision": PolicyDecision.from_json(value["decision"]),
            "outcome": None if outcome is None else Outcome(**outcome),
            "resolution": None if resolution is None else Resolution(**resolution),
        }
        return EffectRecord(**{**value, **typed})


@dataclass(frozen=True, slots=True)
class Act:
    """Write ``record``, then call the target with the effect's id as the key, inside the lease."""

    record: EffectRecord

    @property
    def epoch(self) -> int:
        """The epoch to settle with."""
        return self.record.epoch


@dataclass(frozen=True, slots=True)
class Query:
    """Write ``record``, then ask the target whether the call happened; if not, act under this lease."""

    record: EffectRecord

    @property
    def epoch(self) -> int:
        """The epoch to settle with."""
        return self.record.epoch


@dataclass(frozen=True, slots=True)
class Settled:
    """The effect has its outcome."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Wait:
    """Another attempt holds the lease: claim again at ``until``."""

    until: float


@dataclass(frozen=True, slots=True)
class Unknown:
    """Make no call. Write ``record`` if it differs from the one that was read."""

    record: EffectRecord


@dataclass(frozen=True, slots=True)
class ArgumentsChanged:
    """The effect was claimed with other arguments: the step must fail."""

    claimed: str
    given: str


type Claim = Act | Query | Settled | Wait | Unknown | ArgumentsChanged


@dataclass(frozen=True, slots=True)
class Lost:
    """The lease went to another attempt; ``record`` is what holds now."""

    record: EffectRecord


def claim(
    record: EffectRecord | None,
    *,
    id: str,  # noqa: A002  the record's own name for it
    now: float,
    owner: str,
    lease_s: float,
    args_hash: str,
    kind: Effect,
    decision: PolicyDecision,
) -> Claim:
    """Ask to act; ``record`` is what was read, None if there was none.

    Raises:
        PolicyDenied: ``decision`` does not allow the action: nothing is claimed without leave.
    """
    if not decision.allowed:
        raise PolicyDenied(f"the policy decision is {decision.verdict}", policies=decision.policies)
    if record is None:
        first = EffectRecord(id, EffectState.CLAIMED, kind, args_hash, 1, owner, now + lease_s, now, decision)
        return Act(first)
    if record.args_hash != args_hash:
        return ArgumentsChanged(record.args_hash, args_hash)
    match record.state:
        case EffectState.SETTLED:
            assert record.outcome is not None
            return Settled(record.outcome)
        case EffectState.UNKNOWN:
            return Unknown(record)
        case EffectState.CLAIMED if now < record.lease_until:
            return Wait(record.lease_until)
        case EffectState.CLAIMED if record.kind is Effect.ONCE:
            return Unknown(_unknown(record, "the attempt that acted did not come back", now))
    again = replace(
        record,
        state=EffectState.CLAIMED,
        epoch=record.epoch + 1,
        owner=owner,
        lease_until=now + lease_s,
        claimed_at=now,
        decision=decision,
        resolution=None,
    )
    # An attempt speaks for its own call only, an operator for every call that was made before.
    asks = record.kind is Effect.QUERYABLE and record.resolution is None
    return Query(again) if asks else Act(again)


def settle(
    record: EffectRecord, *, epoch: int, owner: str, outcome: Outcome, now: float
) -> EffectRecord | Lost:
    """Record the outcome that the attempt ``epoch`` of ``owner`` saw; its first settlement stands.

    The lease may have run out meanwhile, and the effect may even have been declared unknown: as long as
    no other attempt was let in, the one that acted knows best.
    """
    if not _holds(record, epoch, owner):
        return Lost(record)
    if record.state is EffectState.SETTLED:
        return record
    return replace(record, state=EffectState.SETTLED, outcome=outcome, ended_at=now, note=None)


def mark_unknown(
    record: EffectRecord, *, epoch: int, owner: str, note: str, now: float
) -> EffectRecord | Lost:
    """Record that the attempt cannot tell whether its call happened; ``note`` says why."""
    if not _holds(record, epoch, owner) or record.state is EffectState.SETTLED:
        return Lost(record)
    return record if record.state is EffectState.UNKNOWN else _unknown(record, note, now)


def give_back(record: EffectRecord, *, epoch: int, owner: str, now: float) -> EffectRecord | Lost:
    """Record that the attempt's call surely did not happen: the effect may be claimed again at once.

    An earlier attempt's call may have happened all the same, so a target that can be asked is asked then.
    """
    if not _holds(record, epoch, owner) or record.state is EffectState.SETTLED:
        return Lost(record)
    return replace(record, state=EffectState.RELEASED, lease_until=now, ended_at=None, note=None)


def lapse(record: EffectRecord, *, epoch: int, owner: str, now: float) -> EffectRecord | Lost:
    """End the attempt's lease now, its call having ended without an outcome: the next claim takes over."""
    if not _holds(record, epoch, owner) or record.state is not EffectState.CLAIMED:
        return Lost(record)
    return replace(record, lease_until=min(now, record.lease_until))


def abandon(record: EffectRecord, *, now: float) -> EffectRecord:
    """Say what is known of the effect now that nobody works on its step any more.

    One that is still claimed after its lease is unknown. While its lease runs it stays as it is: come
    back at ``lease_until``.
    """
    if record.state is not EffectState.CLAIMED or now < record.lease_until:
        return record
    return _unknown(record, "the attempts that acted did not come back", now)


def resolve(record: EffectRecord, *, happened: bool, actor: str, reason: str, now: float) -> EffectRecord:
    """Record what an operator found out about an unknown effect; the same word again changes nothing.

    It happened: settled. It did not: it may be claimed again, under a new epoch.

    Raises:
        IllegalTransition: the effect is not unknown.
        Conflict: it was resolved otherwise, or by somebody else.
        InvalidInput: no reason is given.
    """
    if not reason.strip():
        raise InvalidInput("a reason is needed", field="reason")
    if record.state is not EffectState.UNKNOWN:
        return _already_resolved(record, happened, actor)
    said = replace(record, resolution=Resolution(happened, actor, reason, now), note=None)
    if not happened:
        return replace(said, state=EffectState.RELEASED)
    outcome = Outcome(ok=True, value=None, operator=actor)
    return replace(said, state=EffectState.SETTLED, outcome=outcome, ended_at=now)


def _holds(record: EffectRecord, epoch: int, owner: str) -> bool:
    """Whether the attempt is the last one let in, and nobody has spoken of it since."""
    by_operator = record.state is EffectState.RELEASED or (record.outcome and record.outcome.operator)
    return (record.epoch, record.owner) == (epoch, owner) and not by_operator


def _unknown(record: EffectRecord, note: str, now: float) -> EffectRecord:
    return replace(record, state=EffectState.UNKNOWN, note=note, ended_at=now)


def _already_resolved(record: EffectRecord, happened: bool, actor: str) -> EffectRecord:
    said = record.resolution
    stands = record.state is EffectState.RELEASED or (record.outcome and record.outcome.operator)
    if said is None or not stands:
        raise IllegalTransition(
            f"effect {record.id} is {record.state}: only an unknown effect can be resolved",
            state=record.state,
            event="resolve",
            allowed=(EffectState.UNKNOWN.value,),
        )
    if (said.happened, said.actor) == (happened, actor):
        return record
    raise Conflict(
        f"effect {record.id} was already resolved by {said.actor}",
        actor=said.actor,
        happened=said.happened,
    )
