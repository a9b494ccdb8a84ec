"""AOS is killed at every failpoint, started on the same data, and must finish what it had begun.

The seed chooses at which passage, on which side of it, who dies and whether the run is one that fails
and compensates. `LAB_SEED=n` repeats a choice; with `AOS_TEST_SOAK` set, many seeds are tried, which follow
from `SOAK_SEED`.
"""

import os
import random
import secrets
from collections import Counter
from dataclasses import dataclass, replace

import failpoints
import pytest
from lab_stack import ENDED, Stack, facts_of, unknown_effect

# This seed strikes after claim, act, settle, result, ring, complete, append, dispatch, reserve, begin
# and end, and spreads who dies and which runs compensate.
SEED = int(os.environ.get("LAB_SEED", "12169"))
ROUNDS = 6 if os.environ.get("AOS_TEST_SOAK") else 1
SIDES = ("before", "after")

# How often an order passes each failpoint, at the least.
ORDER_PASSAGES = {
    "accept": 1, "remember": 1, "bell": 1, "begin": 1, "prepare": 3, "dispatch": 3, "reserve": 3, "assign": 1,
    "journal": 2,
    "claim": 3, "act": 4, "settle": 3, "result": 3, "ring": 3, "raise": 3, "append": 3, "checkpoint": 1,
    "end": 1, "stored": 5, "receive": 1, "complete": 3, "start": 1, "event": 3, "activity": 10, "turn": 12,
    "entity": 2, "commit": 20,
}  # fmt: skip
# Around a call that cannot be repeated; the rest is no different from an order's.
TRANSFER_POINTS = ("claim", "act", "settle", "result", "ring", "complete")
# The one receive that waits all the time has long passed its beginning.
ONE_SIDED = {"receive": ("after",)}


@dataclass(frozen=True, slots=True)
class Crash:
    """Who dies where, and in which kind of run."""

    point: str
    passage: int
    who: str
    fails: bool


def seed_of(round_: int) -> int:
    if round_ == 0:
        return SEED
    soak_seed = os.environ.get("SOAK_SEED") or secrets.token_hex(4)
    return random.Random(f"lab {soak_seed} {round_}").getrandbits(32)


def crash_at(name: str, seed: int) -> Crash:
    choice = random.Random(f"{seed} {name}")  # a text: the same in every process
    side = choice.choice(ONE_SIDED.get(name, SIDES))
    passage = choice.randint(1, ORDER_PASSAGES[name])
    who = choice.choice(("worker", "host", "both") if name in failpoints.WORKER else ("host", "both"))
    return Crash(f"{name}.{side}", passage, who, fails=choice.random() < 0.5)


@pytest.mark.parametrize("round_", range(ROUNDS))
@pytest.mark.parametrize("name", ORDER_PASSAGES)
async def test_an_order_that_is_killed_anywhere_finishes_with_each_effect_once(
    stack: Stack, name: str, round_: int
) -> None:
    seed = seed_of(round_)
    crash = crash_at(name, seed)
    print(f"LAB_SEED={seed}: {crash}")
    await order_through(stack, crash)


@pytest.mark.parametrize("round_", range(ROUNDS))
@pytest.mark.parametrize("name", TRANSFER_POINTS)
async def test_a_transfer_that_is_killed_anywhere_is_made_once_or_left_to_the_operator(
    stack: Stack, name: str, round_: int
) -> None:
    seed = seed_of(round_)
    crash = replace(crash_at(name, seed), passage=1)
    print(f"LAB_SEED={seed}: {crash}")
    await transfer_through(stack, crash)


async def transfer_through(stack: Stack, crash: Crash) -> None:
    stack.arm(crash.point, f"kill-{crash.who}")
    key = secrets.token_hex(8)
    async with stack.client() as client:
        run = (await stack.insist(lambda: client.start_run("transfer", {"hang": 0}, idempotency_key=key)))[
            "id"
        ]
        shown = await stack.until(
            client, run, lambda shown: shown["status"] in ENDED or unknown_effect(shown), "an end or a doubt"
        )
        if effect := unknown_effect(shown):
            happened = bool(stack.target.calls(run))
            assert shown["status"] == "waiting", "nothing goes on before somebody has said what happened"
            await client.resolve_effect(run, effect["id"], happened=happened, reason="looked it up")
        ended = await stack.ended(client, run)
        assert stack.fired(crash.point), f"nothing passed {crash.point}"
        assert ended["status"] == "completed", ended
        assert len(stack.target.calls(run)) == 1
        await stack.verified(client, run)


async def order_through(stack: Stack, crash: Crash) -> None:
    stack.arm(crash.point, f"kill-{crash.who}", passages=crash.passage)
    async with stack.client() as client:
        order = {"amount": 12.5, "fails": crash.fails}
        run = (
            await stack.insist(lambda: client.start_run("order", order, idempotency_key=secrets.token_hex(8)))
        )["id"]
        ended = await stack.ended(client, run)
        assert stack.fired(crash.point), f"nothing passed {crash.point} {crash.passage} times"
        assert ended["status"] == ("failed" if crash.fails else "completed"), ended
        assert ended["reason"] == ("step ship: this tool refuses" if crash.fails else None)
        effects = stack.target.effects(run)
        expected = {"charge": 2, "book": 1} | ({"refund": 2, "unbook": 1} if crash.fails else {})
        assert Counter(tool for tool, _ in effects if tool != "look") == expected
        assert all(count == 1 for (tool, _), count in effects.items() if tool != "look"), effects
        assert unknown_effect(ended) is None
        verified, records = await stack.verified(client, run)
        assert verified.status == ended["status"]
        claimed, settled = (facts_of(records, f"effect.{what}") for what in ("claimed", "settled"))
        assert {fact["leaf"]["subject"]["effect"] for fact in claimed} == {
            fact["leaf"]["subject"]["effect"] for fact in settled
        }
        ledger = await stack.at_rest(f"@budget@default.run-{run}", lambda state: not state["held"])
        assert ledger["spent"] == round(ended["cost_usd"] * 1_000_000)
        await stack.at_rest("@agent@default.clerk", lambda state: not state["active"])
