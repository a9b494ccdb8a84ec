"""What activities write survives their being run twice, late, and on the largest values."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from step_world import World

from aos.functions import activities
from aos.kernel.governance.audit.records import FactType
from aos.services.runs.run import RunStatus

DELAY = "{name: w, steps: [{id: a, kind: delay, seconds: 1.0}]}"
APPROVAL = "{name: w, steps: [{id: a, kind: approval}]}"


async def activity(name: str, given: dict[str, Any]) -> Any:
    return await getattr(activities, name)._function.get_user_function()(given)


def ending(world: World, **more: Any) -> dict[str, Any]:
    totals = {"cost_micro_usd": 0, "input_tokens": 0, "output_tokens": 0}
    return {"run": world.run, "facts": [], "status": "completed", "reason": None} | totals | more


async def test_a_run_with_an_input_near_the_limit_begins_and_ends(world: World) -> None:
    await world.accept(DELAY, {"text": "x" * 524_000})
    begun = await activity("begin_run", {"run": world.run})
    assert not begun["ended"]
    await activity("end_run", ending(world))
    records = await world.system.log.read(world.run)
    assert [record.leaf.type for record in records] == ["run.started", "run.ended"]


async def test_a_run_with_a_large_and_deep_output_ends(world: World) -> None:
    run = await world.accept(DELAY)
    deep: Any = "x" * 1_000_000
    for _ in range(150):
        deep = [deep]
    kept = await world.system.values.keep(run, {"deep": deep})
    await world.system.runs.update(run, lambda one: one.changed(output=kept))
    await activity("end_run", ending(world))
    assert (await world.system.runs.get(run)).status is RunStatus.COMPLETED


async def test_a_run_that_failed_for_a_very_long_reason_ends(world: World) -> None:
    run = await world.accept(DELAY)
    await activity("end_run", ending(world, status="failed", reason="\ud800" + "x" * 2_000_000))
    assert (await world.system.runs.get(run)).status is RunStatus.FAILED


async def test_a_beginning_that_comes_late_does_not_bring_an_ended_run_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await world.accept(DELAY)
    read, go_on = asyncio.Event(), asyncio.Event()
    snapshot = world.system.definitions.snapshot

    async def slow(*given: Any) -> Any:
        read.set()
        await go_on.wait()
        return await snapshot(*given)

    monkeypatch.setattr(world.system.definitions, "snapshot", slow)
    late = asyncio.create_task(activity("begin_run", {"run": run}))
    await read.wait()
    await activity("end_run", ending(world))
    go_on.set()
    await late
    assert (await world.system.runs.get(run)).status is RunStatus.COMPLETED


async def test_an_end_that_was_cut_off_amid_its_facts_is_completed_without_doubling_any(
    world: World,
) -> None:
    run = await world.accept(DELAY)
    facts, log = world.system.facts, world.system.log
    names = [
        await facts.write(run, f"f{n}", FactType.STEP_PREPARED, actor="aos", subject={}) for n in range(5)
    ]
    given = [{"row": name} for name in names[:3]]
    first = await facts.read(run, names[0])
    assert first is not None
    await log.append(run, 0, [first])
    await activity("end_run", ending(world, facts=given))
    await activity("end_run", ending(world, facts=given))
    assert [record.leaf.id for record in await log.read(run)] == [*names, "run.ended"]


async def test_an_approval_given_as_the_run_stops_is_in_the_log_and_an_open_one_is_withdrawn(
    world: World,
) -> None:
    for decided in (True, False):
        run = await world.accept(APPROVAL)
        await world.prepare()
        asked = await world.system.approvals.get(run, "a")
        if decided:
            await world.system.approvals.decide(
                run, "a", actor="user:bo", action_hash=asked.action.hash, approve=True, reason="fine"
            )
        await activity("end_run", ending(world, status="cancelled", reason="stop"))
        types = [record.leaf.type for record in await world.system.log.read(run)]
        assert ("approval.decided" in types) == decided
        state = (await world.system.approvals.get(run, "a")).approval.state
        assert state.value == ("approved" if decided else "withdrawn")
