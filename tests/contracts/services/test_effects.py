"""Effects on either backend: one attempt at a time acts, and what it did is written once."""

from __future__ import annotations

import asyncio

import pytest
from service_world import MovedClock

from aos.kernel.agents.definition import Effect
from aos.kernel.errors import Conflict, NotFound
from aos.kernel.governance.effects import Act, EffectState, Outcome, Query, Settled, Unknown, Wait
from aos.kernel.governance.policy import PolicyDecision, Verdict
from aos.services.effects.effects import EffectKey, Effects
from aos.services.storage import Storage

KEY = EffectKey("run-1", "pay", "e" * 32)
ALLOWED = PolicyDecision(Verdict.ALLOW, ("p",))


@pytest.fixture
def effects(storage: Storage, clock: MovedClock) -> Effects:
    return Effects(storage.rows, clock)


async def claim(
    effects: Effects, kind: Effect = Effect.IDEMPOTENT, args: str = "h", key: EffectKey = KEY
) -> object:
    return await effects.claim(key, lease_s=10, args_hash=args, kind=kind, decision=ALLOWED)


async def test_of_many_claims_at_once_one_acts_and_the_others_wait(effects: Effects) -> None:
    answers = await asyncio.gather(*(claim(effects) for _ in range(20)))
    assert sum(isinstance(answer, Act) for answer in answers) == 1
    assert sum(isinstance(answer, Wait) for answer in answers) == 19


async def test_a_settled_effect_gives_its_outcome_to_whoever_asks(effects: Effects) -> None:
    held = await claim(effects)
    assert isinstance(held, Act)
    await effects.settle(KEY, held.record, Outcome(ok=True, value={"id": 1}))
    assert await claim(effects) == Settled(Outcome(ok=True, value={"id": 1}))


async def test_the_loser_of_a_lease_reads_the_winners_record(effects: Effects, clock: MovedClock) -> None:
    first = await claim(effects)
    clock.now += 11
    second = await claim(effects)
    assert isinstance(first, Act)
    assert isinstance(second, Act)
    await effects.settle(KEY, second.record, Outcome(ok=True, value="winner"))
    record = await effects.settle(KEY, first.record, Outcome(ok=True, value="loser"))
    assert record.outcome == Outcome(ok=True, value="winner")


@pytest.mark.parametrize(
    ("kind", "answer"), [(Effect.IDEMPOTENT, Act), (Effect.QUERYABLE, Query), (Effect.ONCE, Unknown)]
)
async def test_an_expired_lease_is_taken_over_by_the_tools_kind(
    effects: Effects, clock: MovedClock, kind: Effect, answer: type
) -> None:
    await claim(effects, kind)
    assert isinstance(await claim(effects, kind), Wait)
    clock.now += 11
    assert isinstance(await claim(effects, kind), answer)


async def test_an_unknown_effect_is_resolved_once(effects: Effects, clock: MovedClock) -> None:
    await claim(effects, Effect.ONCE)
    clock.now += 11
    assert isinstance(await claim(effects, Effect.ONCE), Unknown)
    record = await effects.resolve(KEY, happened=False, actor="ann", reason="not in the books")
    assert record.state is EffectState.RELEASED
    with pytest.raises(Conflict):
        await effects.resolve(KEY, happened=True, actor="bob", reason="it is")
    assert isinstance(await claim(effects, Effect.ONCE), Act)


async def test_an_abandoned_effect_is_unknown_only_after_its_lease(
    effects: Effects, clock: MovedClock
) -> None:
    await claim(effects)
    assert (await effects.abandon(KEY)).state is EffectState.CLAIMED
    clock.now += 11
    assert (await effects.abandon(KEY)).state is EffectState.UNKNOWN


async def test_effects_are_found_by_step_and_by_id(effects: Effects) -> None:
    other = EffectKey("run-1", "pay~undo", "f" * 32)
    await claim(effects)
    await claim(effects, key=other)
    assert [key for key, _ in await effects.of_step("run-1", "pay")] == [KEY]
    assert {key for key, _ in await effects.all("run-1")} == {KEY, other}
    assert await effects.find("run-1", other.id) == other
    with pytest.raises(NotFound):
        await effects.find("run-2", other.id)
