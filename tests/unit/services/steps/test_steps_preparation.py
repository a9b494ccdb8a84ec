"""Preparing a step, again and again."""

from __future__ import annotations

import pytest
import step_lab
from step_world import World

from aos.kernel.governance.audit.records import FactType

AGENT = "{name: w, steps: [{id: a, kind: agent, agent: clerk, task: Pay.}]}"


async def test_a_call_that_two_roles_must_approve_is_asked_of_both(world: World) -> None:
    run = await world.accept("{name: w, steps: [{id: a, kind: tool, tool: guarded}]}")
    asked_of = []
    for attempt in (1, 2):
        assert (await world.prepare(attempt=attempt)).result == "needs_approval"
        asked = await world.system.approvals.get(run, "a")
        asked_of.append(asked.approval.role)
        await world.system.approvals.decide(
            run, "a", actor=f"user:{attempt}", action_hash=asked.action.hash, approve=True, reason="fine"
        )
    assert (await world.prepare(attempt=3)).result == "ready"
    assert asked_of == ["board", "finance"]
    facts = await world.system.facts.all(run)
    assert len([fact for fact in facts if fact.type == FactType.APPROVAL_REQUESTED]) == 2
    prepared = await world.system.steps.prepared(run, "a", 3)
    assert prepared is not None
    assert prepared.approvers == {"board": "user:1", "finance": "user:2"}


async def test_asking_again_for_an_approval_changes_nothing(world: World) -> None:
    run = await world.accept("{name: w, steps: [{id: a, kind: tool, tool: guarded}]}")
    await world.prepare()
    before = await world.system.approvals.get(run, "a")
    world.clock.now += 10
    await world.prepare()
    assert await world.system.approvals.get(run, "a") == before


async def test_an_agent_that_is_no_longer_deployed_fails_its_step(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.accept(AGENT)
    await world.prepare()
    monkeypatch.delitem(step_lab.application._agents, "clerk")
    await world.system.worker.handle(world.message())
    result = await world.result()
    assert (result.result, result.retryable) == ("failed", False)
    assert "no agent 'clerk'" in result.reason
    assert (await world.prepare(attempt=2)).result == "failed"
