"""A tool whose target ignores the key is called once; where nobody knows, an operator says what happened."""

import pytest
from lab_stack import Stack, facts_of, unknown_effect


@pytest.mark.parametrize(
    ("point", "who", "happened"), [("claim.after", "both", False), ("act.after", "worker", True)]
)
async def test_a_worker_that_dies_around_a_call_that_cannot_be_repeated_leaves_it_unknown(
    stack: Stack, point: str, who: str, happened: bool
) -> None:
    stack.arm(point, f"kill-{who}")
    async with stack.client() as client:
        run = (
            await stack.insist(
                lambda: client.start_run("transfer", {"hang": 0}, idempotency_key=f"{point}{who}")
            )
        )["id"]
        effect = await stack.parked(client, run)
        assert stack.fired(point)
        assert len(stack.target.calls(run)) == happened, "nobody may call while the outcome is unknown"
        await client.resolve_effect(run, effect["id"], happened=happened, reason="asked the bank")
        ended = await stack.ended(client, run)
        assert ended["status"] == "completed", ended
        assert ended["output"] == {"state": "completed"}
        assert list(stack.target.effects(run).values()) == [1]
        _, records = await stack.verified(client, run)
        assert len(facts_of(records, "effect.unknown")) == 1
        resolution = facts_of(records, "effect.resolved")
        assert [fact["payload"]["happened"] for fact in resolution] == [happened]
        (actor,) = [fact["leaf"]["actor"] for fact in resolution]
        assert actor.startswith("user:tests (")


async def test_a_doorbell_that_was_answered_does_not_ring_on(stack: Stack) -> None:
    """The first call and the one after the operator's word both hang: the second waits for a second word."""
    async with stack.client() as client:
        run = (await client.start_run("transfer", {"hang": 2}))["id"]
        effect = await stack.parked(client, run)
        await client.resolve_effect(run, effect["id"], happened=False, reason="no such transfer")
        await stack.until(client, run, lambda shown: unknown_effect(shown) is None, "the second call")
        await stack.parked(client, run)
        before = await stack.sweeps(2)
        attempts = (await client.get_run(run))["steps"][0]["attempt"]
        await stack.sweeps(3, after=before)
        assert (await client.get_run(run))["steps"][0]["attempt"] == attempts == 2
        await client.resolve_effect(run, effect["id"], happened=True, reason="there it is")
        assert (await stack.ended(client, run))["status"] == "completed"
        assert len(stack.target.calls(run)) == 2
        await stack.verified(client, run)
