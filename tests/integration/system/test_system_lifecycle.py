"""Runs that go wrong, are stopped, wait, or go on for long."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_stack import Stack, Target, facts_of, step_of

from aos.kernel.errors import Conflict

TRIAL = {"fail": 0, "hang": 0, "refuse": False, "refund_fail": 0}


async def test_a_step_that_fails_is_tried_again_with_backoff(stack: Stack) -> None:
    async with stack.client() as client:
        run = (await client.start_run("trial", TRIAL | {"fail": 2}))["id"]
        ended = await stack.ended(client, run)
        assert ended["status"] == "completed", ended
        assert step_of(ended, "pay")["attempt"] == 3
        calls = stack.target.calls(run)
        assert [call["effect"] for call in calls] == [False, False, True]
        assert len({call["key"] for call in calls}) == 1
        _, records = await stack.verified(client, run)
        assert len(facts_of(records, "step.retrying")) == 2


async def test_a_step_that_keeps_failing_fails(stack: Stack) -> None:
    async with stack.client() as client:
        run = (await client.start_run("trial", TRIAL | {"fail": 3}))["id"]
        ended = await stack.ended(client, run)
        assert ended["status"] == "failed"
        assert ended["reason"] == "step pay: the target says: not now"
        assert len(stack.target.calls(run)) == 3
        assert ended["compensations"] == []
        await stack.verified(client, run)


async def test_a_call_that_hangs_is_made_again_under_its_key(stack: Stack) -> None:
    async with stack.client() as client:
        run = (await client.start_run("trial", TRIAL | {"hang": 1}))["id"]
        ended = await stack.ended(client, run)
        assert ended["status"] == "completed", ended
        assert [call["effect"] for call in stack.target.calls(run)] == [True, False]
        await stack.verified(client, run)


async def test_a_call_that_always_hangs_is_left_to_the_operator(stack: Stack) -> None:
    async with stack.client() as client:
        run = (await client.start_run("trial", TRIAL | {"hang": 9}))["id"]
        effect = await stack.parked(client, run)
        assert len(stack.target.calls(run)) == 3
        await client.resolve_effect(run, effect["id"], happened=True, reason="the target has it")
        ended = await stack.ended(client, run)
        # The operator knows that it happened, not what the target would have answered.
        assert ended["reason"].startswith("output: "), ended
        await stack.verified(client, run)


async def test_a_compensation_that_fails_at_first_is_tried_again(stack: Stack) -> None:
    async with stack.client() as client:
        run = (await client.start_run("trial", TRIAL | {"refuse": True, "refund_fail": 1}))["id"]
        ended = await stack.ended(client, run)
        assert ended["status"] == "failed"
        assert [(undo["state"], undo["attempt"]) for undo in ended["compensations"]] == [("completed", 2)]
        assert [call["effect"] for call in stack.target.calls(run, "refund")] == [False, True]
        _, records = await stack.verified(client, run)
        assert len(facts_of(records, "compensation.failed")) == 1


@pytest.mark.parametrize(("fail", "hang"), [(1, 0), (0, 1)], ids=["refuses", "hangs"])
async def test_an_agent_whose_tool_fails_says_so_or_goes_on_from_there(
    stack: Stack, fail: int, hang: int
) -> None:
    async with stack.client() as client:
        run = (await client.start_run("billing", {"fail": fail, "hang": hang}))["id"]
        ended = await stack.ended(client, run)
        charges = stack.target.calls(run, "charge")
        if hang:  # in doubt: the next attempt makes the same call again, under its key
            assert ended["status"] == "completed", ended
            assert [call["effect"] for call in charges] == [True, False]
            assert ended["output"] == {"receipt": charges[0]["key"]}
        else:
            assert "not now" in ended["output"]["receipt"], "the mock has nothing else to report"
            assert not any(call["effect"] for call in charges)
        _, records = await stack.verified(client, run)
        ids = [record["leaf"]["id"] for record in records]
        assert len(set(ids)) == len(ids), "nothing is said twice"


async def test_a_cancelled_run_lets_its_running_step_end_and_undoes_it(stack: Stack) -> None:
    stack.arm("claim.after", "hold")
    async with stack.client() as client:
        run = (await client.start_run("purchase", {}))["id"]
        await stack.until(client, run, lambda _: stack.fired("claim.after"), "the claim")
        await client.cancel_run(run, "changed our minds")
        stack.release()
        ended = await stack.ended(client, run)
        assert ended["status"] == "cancelled"
        assert ended["reason"] == "changed our minds"
        assert [call["tool"] for call in stack.target.calls(run)] == ["book", "unbook"]
        assert step_of(ended, "pay")["state"] == "cancelled"
        _, records = await stack.verified(client, run)
        assert len(facts_of(records, "run.cancel_requested")) == 1


async def test_a_cancelled_run_leaves_no_effect_in_doubt(stack: Stack) -> None:
    """The call hangs after its effect; the step would be tried again, but the run was cancelled meanwhile."""
    stack.arm("claim.after", "hold")
    async with stack.client() as client:
        run = (await client.start_run("trial", TRIAL | {"hang": 1}))["id"]
        await stack.until(client, run, lambda _: stack.fired("claim.after"), "the claim")
        await client.cancel_run(run, "changed our minds")
        stack.release()
        ended = await stack.ended(client, run)
        assert ended["status"] == "cancelled"
        assert [effect["state"] for effect in ended["effects"]] == ["settled", "settled"]
        assert [tool for tool, _ in stack.target.effects(run).elements()] == ["charge", "refund"]
        await stack.verified(client, run)


async def test_a_run_that_waits_for_approval_can_be_cancelled(stack: Stack) -> None:
    async with stack.client() as client:
        run = (await client.start_run("purchase", {}))["id"]
        (asked,) = await stack.asked(client, run)
        await client.cancel_run(run, "changed our minds")
        ended = await stack.ended(client, run)
        assert ended["status"] == "cancelled"
        assert [each["state"] for each in ended["approvals"]] == ["withdrawn"]
        assert [call["tool"] for call in stack.target.calls(run)] == ["book", "unbook"]
        with pytest.raises(Conflict):
            await client.approve(run, "board", reason="late", action_hash=asked["action_hash"])
        with pytest.raises(Conflict):
            await client.cancel_run(run, "again")
        await stack.verified(client, run)


async def test_a_run_that_waits_to_try_again_can_be_cancelled(stack: Stack) -> None:
    async with stack.client() as client:
        run = (await client.start_run("stubborn", {}))["id"]
        await stack.until(
            client, run, lambda shown: step_of(shown, "look")["state"] == "retrying", "the wait"
        )
        await client.cancel_run(run, "it takes too long")
        ended = await stack.ended(client, run)
        assert ended["status"] == "cancelled"
        assert stack.target.calls(run)[-1]["tool"] == "unbook"
        await stack.verified(client, run)


@pytest.fixture
def moving(tmp_path: Path, target: Target) -> Iterator[Stack]:
    stack = Stack(tmp_path / "moving", target, env={"LAB_MAX_TURNS": "20"})
    yield stack
    stack.stop()


async def test_a_run_that_moves_to_fresh_histories_loses_nothing(moving: Stack) -> None:
    async with moving.client() as client:
        run = (await client.start_run("march", {}))["id"]
        (asked,) = await moving.asked(client, run)
        moving.kill()  # so that the rest begins from what is on disk
        moving.launch()
        await client.approve(run, "gate", reason="go", action_hash=asked["action_hash"])
        ended = await moving.ended(client, run)
        assert ended["status"] == "completed", ended
        assert {step["state"] for step in ended["steps"]} == {"completed"}
        assert list(moving.target.effects(run).values()) == [1] * 24
        verified, records = await moving.verified(client, run)
        assert verified.size > 150
        assert b'"carried"' in origin_of(moving, run), "the run never moved"
        ids = [record["leaf"]["id"] for record in records]
        assert len(set(ids)) == len(ids), "nothing is said twice"
        assert len(facts_of(records, "step.completed")) == 26


def origin_of(stack: Stack, run: str) -> bytes:
    """The event that began the run's present history, as it lies in the hub."""
    hub = sqlite3.connect(f"file:{stack.data / 'hub.db'}?mode=ro", uri=True)
    with contextlib.closing(hub):
        query = "SELECT event FROM origins JOIN instances USING (no) WHERE id = ?"
        event: bytes = hub.execute(query, (run,)).fetchone()[0]
        return event


async def test_a_hundred_runs_at_once_all_finish_and_verify(stack: Stack) -> None:
    started = time.monotonic()
    async with stack.client() as client:
        orders = [client.start_run("order", {"amount": 1.5, "fails": n % 4 == 0}) for n in range(100)]
        runs = [run["id"] for run in await asyncio.gather(*orders)]
        accepted = time.monotonic()
        ended = []
        for run in runs:
            ended.append(await stack.ended(client, run))
        finished = time.monotonic()
        assert [run["status"] for run in ended] == ["completed" if n % 4 else "failed" for n in range(100)]
        for run in runs:
            await stack.verified(client, run)
            effects = stack.target.effects(run)
            assert all(count == 1 for (tool, _), count in effects.items() if tool != "look")
        print(f"accepted in {accepted - started:.1f} s, finished in {finished - started:.1f} s")
        agents = {agent["name"]: agent for agent in (await client.agents())["agents"]}
        assert agents["clerk"]["active"] == 0
