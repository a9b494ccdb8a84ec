"""Messages and doorbells that are lost, doubled, or whose every delivery ends the worker."""

import pytest
from lab_stack import Stack, facts_of, step_of

from aos.kernel.errors import Unavailable


async def test_a_step_whose_worker_dies_at_each_delivery_fails_and_is_compensated(stack: Stack) -> None:
    async with stack.client() as client:
        run = (await client.start_run("errand", {}))["id"]
        ended = await stack.ended(client, run)
        assert ended["status"] == "failed"
        assert "dead-lettered (MaxDeliveryCountExceeded)" in ended["reason"]
        assert [undone["state"] for undone in ended["compensations"]] == ["completed"]
        assert sorted(tool for tool, _ in stack.target.effects(run).elements()) == ["charge", "refund"]
        await stack.verified(client, run)


async def test_an_agent_whose_worker_dies_at_each_delivery_is_charged_for_what_its_model_said(
    stack: Stack,
) -> None:
    async with stack.client() as client:
        run = (await client.start_run("dare", {}))["id"]
        ended = await stack.ended(client, run)
        assert ended["status"] == "failed"
        assert "dead-lettered" in ended["reason"]
        _, records = await stack.verified(client, run)
        (reply,) = facts_of(records, "model.replied")
        assert reply["payload"]["cost_micro_usd"] > 0
        assert ended["cost_usd"] == reply["payload"]["cost_micro_usd"] / 1_000_000
        ledger = await stack.at_rest(f"@budget@default.run-{run}", lambda state: not state["held"])
        assert ledger["spent"] == reply["payload"]["cost_micro_usd"]


async def test_an_effect_whose_worker_dies_at_each_delivery_is_left_to_the_operator(stack: Stack) -> None:
    async with stack.client() as client:
        run = (await client.start_run("raid", {}))["id"]
        effect = await stack.parked(client, run)
        await stack.insist(
            lambda: client.resolve_effect(run, effect["id"], happened=True, reason="the target has it")
        )
        ended = await stack.ended(client, run)
        assert ended["status"] == "completed", ended
        assert len(stack.target.calls(run)) > 1, "it is called again, under its key"
        assert list(stack.target.effects(run).values()) == [1]
        _, records = await stack.verified(client, run)
        assert facts_of(records, "effect.unknown")


@pytest.mark.parametrize("point", ["dispatch", "handle", "raise", "bell"])
async def test_what_comes_twice_is_done_once(stack: Stack, point: str) -> None:
    stack.arm(f"{point}.before", "twice", times=3 if point != "bell" else 1)
    async with stack.client() as client:
        run = (await client.start_run("order", {"amount": 1.5, "fails": False}))["id"]
        ended = await stack.ended(client, run)
        assert stack.fired(f"{point}.before")
        assert ended["status"] == "completed", ended
        assert all(count == 1 for (tool, _), count in stack.target.effects(run).items() if tool != "look")
        _, records = await stack.verified(client, run)
        assert len(facts_of(records, "step.dispatched")) == 3


async def test_a_run_whose_start_is_lost_is_started_by_the_sweep(stack: Stack) -> None:
    stack.arm("bell.before", "skip")
    async with stack.client() as client:
        run = (await client.start_run("transfer", {"hang": 0}))["id"]
        assert (await stack.ended(client, run))["status"] == "completed"
        assert stack.fired("bell.before")


async def test_a_run_whose_acceptance_broke_off_is_forgotten_until_it_is_asked_for_again(
    stack: Stack,
) -> None:
    stack.arm("remember.after", "kill-both")
    async with stack.client() as client:
        with pytest.raises(Unavailable):
            await client.start_run("transfer", {"hang": 0}, idempotency_key="broken off")
        stack.died()
        stack.revive()
        while await stack.doorbells():
            await stack.sweeps(1)
        assert "begin_run" in stack.log
        run = (await client.start_run("transfer", {"hang": 0}, idempotency_key="broken off"))["id"]
        assert (await stack.ended(client, run))["status"] == "completed"
        await stack.verified(client, run)


async def test_a_result_whose_doorbell_is_lost_is_found(stack: Stack) -> None:
    stack.arm("raise.before", "skip", times=3)
    async with stack.client() as client:
        run = (await client.start_run("order", {"amount": 1.5, "fails": False}))["id"]
        assert (await stack.ended(client, run))["status"] == "completed"
        assert stack.fired("raise.before")


async def test_a_decision_whose_doorbell_is_lost_is_found(stack: Stack) -> None:
    async with stack.client() as client:
        run = (await client.start_run("spending", {}))["id"]
        asked = (await stack.asked(client, run))[0]
        stack.arm("raise.before", "skip")
        await client.approve(run, asked["step"], reason="yes", action_hash=asked["action_hash"])
        assert stack.fired("raise.before")
        assert (await stack.ended(client, run))["status"] == "completed"


@pytest.mark.parametrize("point", ["decide.before", "decide.after", "bell.after"])
async def test_a_decision_during_which_everything_dies_is_made_or_can_be_repeated(
    stack: Stack, point: str
) -> None:
    async with stack.client() as client:
        run = (await client.start_run("purchase", {}))["id"]
        asked = (await stack.asked(client, run))[0]
        stack.arm(point, "kill-both")
        await stack.insist(
            lambda: client.approve(run, asked["step"], reason="yes", action_hash=asked["action_hash"])
        )
        ended = await stack.ended(client, run)
        assert stack.fired(point)
        assert ended["status"] == "completed", ended
        assert step_of(ended, "board")["state"] == "completed"
        _, records = await stack.verified(client, run)
        assert len(facts_of(records, "approval.decided")) == 1
