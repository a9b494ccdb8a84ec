import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from aos.kernel.agents.definition import Effect
from aos.kernel.errors import AosError, Conflict, IllegalTransition, InvalidInput, PolicyDenied
from aos.kernel.governance.effects import (
    Act,
    ArgumentsChanged,
    Claim,
    EffectRecord,
    EffectState,
    Lost,
    Outcome,
    Query,
    Settled,
    Unknown,
    Wait,
    abandon,
    claim,
    effect_id,
    give_back,
    lapse,
    mark_unknown,
    resolve,
    settle,
)
from aos.kernel.governance.policy import PolicyDecision, Verdict

ALLOW = PolicyDecision(Verdict.ALLOW, ("p1",))
DONE = Outcome(ok=True, value={"receipt": 7})
LEASE = 10.0


def claimed(
    record: EffectRecord | None = None,
    *,
    now: float = 0,
    owner: str = "w1",
    kind: Effect = Effect.ONCE,
    **more: Any,
) -> Claim:
    asked = {"id": "e", "lease_s": LEASE, "args_hash": "h", "decision": ALLOW, **more}
    return claim(record, now=now, owner=owner, kind=kind, **asked)


def first(kind: Effect = Effect.ONCE) -> EffectRecord:
    answer = claimed(kind=kind)
    assert isinstance(answer, Act)
    return answer.record


def unknown() -> EffectRecord:
    answer = claimed(first(), now=LEASE, owner="w2")
    assert isinstance(answer, Unknown)
    return answer.record


def test_the_id_depends_on_run_step_turn_and_call_alone():
    ids = {effect_id(r, s, t, c) for r in ("r", "r2") for s in ("s", "s2") for t in (0, 1) for c in (0, 1)}
    assert len(ids) == 16
    assert effect_id("r", "s", 0, 1) == effect_id("r", "s", 0, 1)


def test_the_first_claim_acts_under_a_lease():
    record = first()
    assert (record.epoch, record.owner, record.lease_until, record.decision) == (1, "w1", LEASE, ALLOW)


@pytest.mark.parametrize("verdict", [Verdict.DENY, Verdict.REQUIRES_APPROVAL])
def test_nothing_is_claimed_without_leave(verdict: Verdict):
    with pytest.raises(PolicyDenied):
        claimed(decision=PolicyDecision(verdict))


def test_while_the_lease_lives_everybody_waits():
    assert claimed(first(), now=LEASE - 0.1, owner="w2") == Wait(LEASE)
    assert claimed(first(), now=LEASE - 0.1, owner="w1") == Wait(LEASE)


@pytest.mark.parametrize("kind", [Effect.NONE, Effect.IDEMPOTENT])
def test_a_dead_attempt_is_repeated_when_that_does_no_harm(kind: Effect):
    answer = claimed(first(kind), now=LEASE, owner="w2", kind=kind)
    assert isinstance(answer, Act)
    assert (answer.epoch, answer.record.id, answer.record.owner) == (2, "e", "w2")


def test_a_dead_attempt_on_a_target_that_can_be_asked_is_asked_about():
    answer = claimed(first(Effect.QUERYABLE), now=LEASE, owner="w2", kind=Effect.QUERYABLE)
    assert isinstance(answer, Query)
    again = claimed(answer.record, now=3 * LEASE, owner="w3", kind=Effect.QUERYABLE)
    assert isinstance(again, Query)
    assert again.epoch == 3


def test_a_dead_attempt_at_what_may_happen_only_once_is_unknown_and_not_repeated():
    record = unknown()
    assert record.state is EffectState.UNKNOWN
    assert claimed(record, now=99, owner="w3") == Unknown(record)


def test_what_the_tool_declared_at_the_claim_counts_not_what_it_declares_now():
    assert isinstance(claimed(first(Effect.ONCE), now=LEASE, kind=Effect.NONE), Unknown)


def test_other_arguments_than_claimed_are_refused_in_every_state():
    settled = settle(first(), epoch=1, owner="w1", outcome=DONE, now=1)
    assert isinstance(settled, EffectRecord)
    for record in (first(), settled, unknown()):
        assert claimed(record, now=99, args_hash="other") == ArgumentsChanged("h", "other")


def test_a_settled_effect_gives_its_outcome():
    settled = settle(first(), epoch=1, owner="w1", outcome=DONE, now=1)
    assert isinstance(settled, EffectRecord)
    assert claimed(settled, now=99, owner="w2") == Settled(DONE)


def test_settling_twice_keeps_the_first_outcome():
    settled = settle(first(), epoch=1, owner="w1", outcome=DONE, now=1)
    assert isinstance(settled, EffectRecord)
    assert settle(settled, epoch=1, owner="w1", outcome=Outcome(False, None), now=2) is settled


def test_the_attempt_that_lost_its_lease_to_another_reads_the_winners_record():
    taken = claimed(first(Effect.NONE), now=LEASE, owner="w2", kind=Effect.NONE)
    assert isinstance(taken, Act)
    assert settle(taken.record, epoch=1, owner="w1", outcome=DONE, now=11) == Lost(taken.record)
    assert mark_unknown(taken.record, epoch=1, owner="w1", note="x", now=11) == Lost(taken.record)


def test_the_caller_itself_may_still_say_what_happened_to_an_unknown_effect():
    settled = settle(unknown(), epoch=1, owner="w1", outcome=DONE, now=12)
    assert isinstance(settled, EffectRecord)
    assert (settled.state, settled.outcome, settled.note) == (EffectState.SETTLED, DONE, None)


def test_an_attempt_may_say_that_it_cannot_tell():
    marked = mark_unknown(first(), epoch=1, owner="w1", note="timed out after sending", now=3)
    assert isinstance(marked, EffectRecord)
    assert (marked.state, marked.note) == (EffectState.UNKNOWN, "timed out after sending")


def test_a_call_that_surely_did_not_happen_may_be_made_again_at_once():
    record = give_back(first(), epoch=1, owner="w1", now=1)
    assert isinstance(record, EffectRecord)
    answer = claimed(record, now=1, owner="w2")
    assert isinstance(answer, Act)
    assert answer.epoch == 2
    assert isinstance(settle(record, epoch=1, owner="w1", outcome=DONE, now=2), Lost)


def test_a_target_that_can_be_asked_is_asked_for_the_sake_of_the_attempts_before():
    kind = Effect.QUERYABLE
    died = first(kind)
    asking = claimed(died, now=LEASE, owner="w2", kind=kind)
    assert isinstance(asking, Query)
    record = give_back(asking.record, epoch=2, owner="w2", now=LEASE + 1)
    assert isinstance(record, EffectRecord)
    assert isinstance(claimed(record, now=LEASE + 1, owner="w3", kind=kind), Query)


def test_an_attempt_that_ends_in_doubt_lets_the_next_take_over_at_once():
    record = lapse(first(Effect.IDEMPOTENT), epoch=1, owner="w1", now=1)
    assert isinstance(record, EffectRecord)
    assert isinstance(claimed(record, now=1, owner="w2", kind=Effect.IDEMPOTENT), Act)
    assert isinstance(lapse(record, epoch=2, owner="w2", now=1), Lost)


def test_an_abandoned_effect_is_unknown_once_its_lease_has_run_out():
    record = first(Effect.IDEMPOTENT)
    assert abandon(record, now=LEASE - 0.1) is record
    assert abandon(record, now=LEASE).state is EffectState.UNKNOWN
    settled = settle(record, epoch=1, owner="w1", outcome=DONE, now=1)
    assert isinstance(settled, EffectRecord)
    assert abandon(settled, now=LEASE) is settled


def test_an_operator_who_says_happened_settles_it_in_their_name():
    record = resolve(unknown(), happened=True, actor="ada", reason="saw the receipt", now=20)
    assert claimed(record, now=21) == Settled(Outcome(ok=True, value=None, operator="ada"))
    assert isinstance(settle(record, epoch=1, owner="w1", outcome=DONE, now=22), Lost)


def test_an_operator_who_says_not_happened_lets_a_new_epoch_act_once():
    record = resolve(unknown(), happened=False, actor="ada", reason="no entry", now=20)
    assert isinstance(settle(record, epoch=1, owner="w1", outcome=DONE, now=21), Lost)
    answer = claimed(record, now=21, owner="w3")
    assert isinstance(answer, Act)
    assert answer.epoch == 2
    assert isinstance(claimed(answer.record, now=99, owner="w4"), Unknown)


def test_a_resolution_is_final_and_repeating_it_changes_nothing():
    record = resolve(unknown(), happened=False, actor="ada", reason="no entry", now=20)
    assert resolve(record, happened=False, actor="ada", reason="again", now=25) is record
    with pytest.raises(Conflict, match="already resolved by ada"):
        resolve(record, happened=True, actor="bob", reason="I think so", now=26)


def test_only_an_unknown_effect_is_resolved_and_only_with_a_reason():
    with pytest.raises(IllegalTransition, match="is claimed: only an unknown"):
        resolve(first(), happened=True, actor="ada", reason="x", now=1)
    with pytest.raises(InvalidInput, match="reason"):
        resolve(unknown(), happened=True, actor="ada", reason=" ", now=1)


@dataclass(frozen=True)
class Attempt:
    owner: str
    epoch: int


class OneEffect(RuleBasedStateMachine):
    """Attempts that claim on stale reads, crash, come late and are resolved, over a conditional store."""

    attempts = Bundle("attempts")
    reads = Bundle("reads")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.record: EffectRecord | None = None
        self.version = 0
        self.owners = 0
        self.acts = 0
        self.by_operator = 0
        self.by_attempt = 0
        self.settled: EffectRecord | None = None
        self.leases: list[tuple[str, float, float]] = []

    @initialize(kind=st.sampled_from(Effect))
    def declare(self, kind: Effect) -> None:
        self.kind = kind

    def _write(self, version: int, record: EffectRecord) -> bool:
        if version != self.version:
            return False
        self.version, self.record = (
            version + 1,
            EffectRecord.from_json(json.loads(json.dumps(record.to_json()))),
        )
        assert self.record == record
        return True

    @rule(target=reads)
    def read(self) -> tuple[int, EffectRecord | None]:
        return self.version, self.record

    @rule(seconds=st.floats(0.1, 15))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=attempts, read=reads)
    def claim(self, read: tuple[int, EffectRecord | None]) -> Attempt:
        version, record = read
        self.owners += 1
        owner = f"w{self.owners}"
        answer = claimed(record, now=self.now, owner=owner, kind=self.kind)
        match answer:
            case Act(new) | Query(new):
                if self._write(version, new):
                    assert all(until <= self.now for _, _, until in self.leases), "two live leases"
                    self.leases.append((owner, self.now, new.lease_until))
                    self.acts += isinstance(answer, Act)
                    return Attempt(owner, new.epoch)
            case Unknown(new) if new != record:
                self._write(version, new)
            case _:
                pass
        return Attempt(owner, 0)

    @rule(attempt=attempts, ok=st.booleans())
    def settle(self, attempt: Attempt, ok: bool) -> None:
        if self.record is None:
            return
        answer = settle(
            self.record,
            epoch=attempt.epoch,
            owner=attempt.owner,
            outcome=Outcome(ok, attempt.owner),
            now=self.now,
        )
        if isinstance(answer, EffectRecord):
            self._write(self.version, answer)

    @rule(attempt=consumes(attempts))
    def cannot_tell(self, attempt: Attempt) -> None:
        if self.record is None:
            return
        answer = mark_unknown(self.record, epoch=attempt.epoch, owner=attempt.owner, note="?", now=self.now)
        if isinstance(answer, EffectRecord):
            self._write(self.version, answer)
            self.leases.clear()  # the holder itself gave it up

    @rule(attempt=consumes(attempts))
    def did_not_happen(self, attempt: Attempt) -> None:
        if self.record is None:
            return
        before = self.record.state
        answer = give_back(self.record, epoch=attempt.epoch, owner=attempt.owner, now=self.now)
        if isinstance(answer, EffectRecord):
            self._write(self.version, answer)
            self.leases.clear()
            self.by_attempt += before is not EffectState.RELEASED

    @rule(attempt=consumes(attempts))
    def in_doubt(self, attempt: Attempt) -> None:
        if self.record is None:
            return
        answer = lapse(self.record, epoch=attempt.epoch, owner=attempt.owner, now=self.now)
        if isinstance(answer, EffectRecord):
            self._write(self.version, answer)
            self.leases.clear()

    @rule()
    def step_ends(self) -> None:
        if self.record is not None:
            self._write(self.version, abandon(self.record, now=self.now))

    @rule(happened=st.booleans(), actor=st.sampled_from(["ada", "bob"]))
    def resolve(self, happened: bool, actor: str) -> None:
        if self.record is None:
            return
        before = self.record
        try:
            answer = resolve(before, happened=happened, actor=actor, reason="looked", now=self.now)
        except AosError:
            return
        self._write(self.version, answer)
        self.by_operator += answer.state is EffectState.RELEASED and before.state is EffectState.UNKNOWN

    @invariant()
    def no_call_is_repeated_blindly(self) -> None:
        if self.owners and self.kind is Effect.ONCE:
            assert self.acts <= 1 + self.by_operator + self.by_attempt
        if self.owners and self.kind is Effect.QUERYABLE:
            assert self.acts <= 1 + self.by_operator

    @invariant()
    def settled_never_changes(self) -> None:
        if self.settled is not None:
            assert self.record == self.settled
        elif self.record is not None and self.record.state is EffectState.SETTLED:
            self.settled = self.record


TestOneEffect = OneEffect.TestCase
TestOneEffect.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
