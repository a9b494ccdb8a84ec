"""Policies, budgets and approvals over the whole system: what is forbidden is never called."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_stack import HERE, Stack, Target, facts_of, step_of

from aos.kernel.errors import Conflict

PROPOSALS = HERE.parents[1] / "apps" / "leadership" / "proposals"


async def test_a_tool_step_that_a_policy_forbids_is_never_called(stack: Stack) -> None:
    async with stack.client() as client:
        run = (await client.start_run("burglary", {}))["id"]
        ended = await stack.ended(client, run)
        assert ended["status"] == "failed"
        assert "lab-nobody-opens-the-vault" in ended["reason"]
        assert [call["tool"] for call in stack.target.calls(run)] == ["charge", "refund"]
        _, records = await stack.verified(client, run)
        decisions = [fact["payload"]["decision"] for fact in facts_of(records, "step.prepared")]
        denials = [decision for decision in decisions if decision["verdict"] == "deny"]
        assert [denial["policies"] for denial in denials] == [["lab-nobody-opens-the-vault"]]


async def test_an_agent_is_told_that_a_policy_forbids_its_call(stack: Stack) -> None:
    async with stack.client() as client:
        run = (await client.start_run("heist", {}))["id"]
        ended = await stack.ended(client, run)
        assert stack.target.calls(run) == []
        assert "lab-nobody-opens-the-vault" in json.dumps(ended["output"])
        _, records = await stack.verified(client, run)
        denials = [
            fact
            for fact in facts_of(records, "policy.decided")
            if fact["payload"]["decision"]["verdict"] == "deny"
        ]
        assert [denial["leaf"]["actor"] for denial in denials] == ["agent:snoop"]
        assert denials[0]["payload"]["decision"]["policies"] == ["lab-nobody-opens-the-vault"]


async def test_a_budget_of_a_cent_stops_the_run_at_the_reservation(stack: Stack) -> None:
    async with stack.client() as client:
        run = (await client.start_run("frugal", {}, budget_usd=0.01))["id"]
        ended = await stack.ended(client, run)
        assert ended["status"] == "failed"
        assert "0.01 USD left, and 0.02 are asked" in ended["reason"]
        assert stack.target.calls(run) == []
        _, records = await stack.verified(client, run)
        refused = facts_of(records, "budget.refused")
        assert [fact["payload"]["available_micro_usd"] for fact in refused] == [10_000]
        assert facts_of(records, "model.replied") == []


async def test_a_policy_asks_for_an_approval_that_the_workflow_does_not_have(stack: Stack) -> None:
    async with stack.client() as client:
        run = (await client.start_run("spending", {}))["id"]
        (asked,) = await stack.asked(client, run)
        assert (asked["step"], asked["action"]["arguments"]) == ("spend", {"amount": 7.5})
        assert "lab-guarded-spending-is-approved" in asked["prompt"]
        assert stack.target.calls(run) == []
        with pytest.raises(Conflict):
            await client.approve(run, "spend", reason="yes", action_hash="0" * 64)
        await client.approve(run, "spend", reason="yes", action_hash=asked["action_hash"])
        ended = await stack.ended(client, run)
        assert ended["status"] == "completed", ended
        assert len(stack.target.calls(run)) == 1
        await stack.verified(client, run)


async def test_what_is_rejected_is_not_done(stack: Stack) -> None:
    async with stack.client() as client:
        run = (await client.start_run("purchase", {}))["id"]
        (asked,) = await stack.asked(client, run)
        await client.reject(run, "board", reason="too dear", action_hash=asked["action_hash"])
        ended = await stack.ended(client, run)
        assert ended["status"] == "failed"
        (approval,) = ended["approvals"]
        assert approval["actor"].startswith("user:tests (")
        assert ended["reason"] == f"step board: approval rejected by {approval['actor']}: too dear"
        assert [call["tool"] for call in stack.target.calls(run)] == ["book", "unbook"]
        await stack.verified(client, run)


async def test_an_approval_that_nobody_gives_expires_and_the_run_is_undone(stack: Stack) -> None:
    async with stack.client() as client:
        run = (await client.start_run("haste", {}))["id"]
        ended = await stack.ended(client, run)
        assert ended["status"] == "failed"
        assert ended["reason"] == "step board: approval expired"
        assert [call["tool"] for call in stack.target.calls(run)] == ["book", "unbook"]
        (asked,) = ended["approvals"]
        with pytest.raises(Conflict):
            await client.approve(run, "board", reason="late", action_hash=asked["action_hash"])
        await stack.verified(client, run)


@pytest.fixture
def editable(tmp_path: Path, target: Target) -> Iterator[Stack]:
    workflows = tmp_path / "workflows"
    workflows.mkdir()
    (workflows / "purchase.yaml").write_text((HERE / "lab" / "workflows" / "purchase.yaml").read_text())
    stack = Stack(tmp_path / "edited", target, env={"LAB_WORKFLOWS": str(workflows)})
    yield stack
    stack.stop()


async def test_editing_a_workflow_changes_the_next_run_and_no_other(editable: Stack, tmp_path: Path) -> None:
    async with editable.client() as client:
        run = (await client.start_run("purchase", {}))["id"]
        (asked,) = await editable.asked(client, run)
        file = tmp_path / "workflows" / "purchase.yaml"
        file.write_text(file.read_text().replace("amount: 99.5", "amount: 1.5"))
        other = (await client.start_run("purchase", {}))["id"]
        editable.kill()  # nothing that a process remembers keeps the runs apart
        editable.launch()
        (changed,) = await editable.asked(client, other)
        for each, ask in ((run, asked), (other, changed)):
            await client.approve(each, "board", reason="yes", action_hash=ask["action_hash"])
            assert (await editable.ended(client, each))["status"] == "completed"
        paid = [editable.target.calls(each, "charge")[0]["amount"] for each in (run, other)]
        assert paid == [99.5, 1.5]
        first, second = [await client.get_run(each) for each in (run, other)]
        assert first["definition"] != second["definition"]
        await editable.verified(client, run)


@pytest.fixture(scope="module")
def leadership(tmp_path_factory: pytest.TempPathFactory, target: Target) -> Iterator[Stack]:
    root = HERE.parents[1]
    stack = Stack(
        tmp_path_factory.mktemp("board") / "leadership", target, app=root, application="apps.leadership"
    )
    yield stack
    stack.stop()


async def test_one_changed_cash_flow_changes_the_decision(leadership: Stack) -> None:
    proposal = json.loads((PROPOSALS / "warehouse-automation.json").read_text())
    poorer = proposal | {"cash_flows": [*proposal["cash_flows"][:-1], -proposal["cash_flows"][-1] * 4]}
    async with leadership.client() as client:
        good, poor = [(await client.start_run("strategic-review", each))["id"] for each in (proposal, poorer)]
        (asked,) = await leadership.asked(client, good)
        await client.approve(good, "board", reason="go", action_hash=asked["action_hash"])
        ended = await asyncio.gather(leadership.ended(client, good), leadership.ended(client, poor))
        assert [run["output"]["decision"] for run in ended] == ["approve", "reject"]
        assert ended[0]["output"]["npv_usd"] > ended[1]["output"]["npv_usd"]
        assert step_of(ended[1], "reserve")["state"] == "skipped"
        for run in (good, poor):
            await leadership.verified(client, run)
