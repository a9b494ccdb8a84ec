"""A step ends exactly once, with what it cost, whatever its tools and its model do."""

from __future__ import annotations

from typing import Any

import pytest
import step_lab
from step_world import NOTHING, World, says

from aos.kernel.errors import Unavailable
from aos.services.inference.ports import ModelUnavailable


def tool_step(tool: str, **arguments: Any) -> str:
    given = ", ".join(f"{name}: {value}" for name, value in arguments.items())
    return f"{{name: w, steps: [{{id: a, kind: tool, tool: {tool}, with: {{{given}}}}}]}}"


AGENT = "{name: w, steps: [{id: a, kind: agent, agent: clerk, task: Pay.}]}"


@pytest.mark.parametrize("tool", ["exits", "cancels", "says_much"])
async def test_a_tool_that_breaks_its_process_or_says_too_much_fails_its_step(
    world: World, tool: str
) -> None:
    await world.accept(tool_step(tool))
    result = await world.worked()
    assert (result.result, result.retryable) == ("failed", True)
    assert len(result.reason) < 5000


async def test_a_refusal_that_says_too_much_is_cut_short(world: World) -> None:
    await world.accept(tool_step("refuses_much"))
    result = await world.worked()
    assert result.result == "failed"
    assert len(result.reason) < 5000


@pytest.mark.parametrize("much", [{"size": 10_000_000}, {"depth": 150}])
async def test_a_large_or_deep_result_of_an_effect_is_kept_and_the_call_made_once(
    world: World, much: dict[str, int]
) -> None:
    await world.accept(tool_step("pay", **much))
    result = await world.worked()
    assert result.result == "completed"
    if "size" in much:
        assert result.output == "x" * 10_000_000
    ((_, effect),) = await world.system.effects.all(world.run)
    assert effect.state == "settled"
    assert step_lab.calls == ["pay"]


async def test_an_agent_that_answers_a_megabyte_completes(world: World) -> None:
    await world.accept(AGENT)
    world.model.replies = [says("y" * 1_000_000)]
    result = await world.worked()
    assert (result.result, len(result.output["text"])) == ("completed", 1_000_000)


async def test_an_attempt_that_is_ended_from_outside_still_costs_what_its_model_took(world: World) -> None:
    await world.accept(AGENT)
    await world.prepare()
    message = world.message()
    world.model.replies = [says("", ("pay", {})), Unavailable("the worker dies")]
    with pytest.raises(Unavailable):
        await world.system.worker._run(message)
    world.clock.now += 1000
    assert await world.system.worker.conclude(message, "too late", retryable=True) is None
    result = await world.result()
    assert (result.cost_micro_usd, result.input_tokens, result.output_tokens) == (2000, 1000, 500)


async def test_facts_of_an_effect_stand_in_their_order_after_a_worker_died(world: World) -> None:
    await world.accept(tool_step("pay"))
    await world.prepare()
    message = world.message()
    await world.system.worker._run(message)  # and dies before it could write the result
    await world.system.worker.handle(message)
    kinds = [fact.rsplit(".", 1)[0] if fact[-1].isdigit() else fact for fact in (await world.result()).facts]
    assert kinds.index("a.0.0.claimed") < kinds.index("a.0.0.settled")
    assert step_lab.calls == ["pay"]


async def test_a_tool_step_whose_call_happened_completes_even_when_it_is_ended_from_outside(
    world: World,
) -> None:
    await world.accept(tool_step("pay"))
    await world.prepare()
    message = world.message()
    made = await world.system.worker._run(message)  # and dies before it could write the result
    await world.system.worker.give_up(message, "dead-lettered")
    result = await world.result()
    assert (result.result, result.effects, result.output) == ("completed", True, made.output)
    assert step_lab.calls == ["pay"]


async def test_a_tool_step_whose_call_happened_completes_even_when_its_time_is_over(world: World) -> None:
    await world.accept(tool_step("pay"))
    await world.prepare()
    message = world.message(final=True)
    await world.system.worker._run(message)  # and dies before it could write the result
    world.clock.now += 1000
    await world.system.worker.handle(message)
    assert (await world.result()).result == "completed"
    assert step_lab.calls == ["pay"]


async def test_an_agent_step_that_is_ended_after_an_effect_failed_with_it(world: World) -> None:
    await world.accept(AGENT)
    await world.prepare()
    message = world.message()
    world.model.replies = [says("", ("pay", {})), Unavailable("the worker dies")]
    with pytest.raises(Unavailable):
        await world.system.worker._run(message)
    world.clock.now += 1000
    await world.system.worker.handle(message)
    result = await world.result()
    assert (result.result, result.effects) == ("failed", True)


async def test_a_worker_that_outlived_its_attempt_claims_nothing_more(world: World) -> None:
    await world.accept(AGENT)
    await world.prepare()
    message = world.message()
    await world.system.worker.give_up(message, "dead-lettered")
    world.model.replies = [says("", ("pay", {})), says("done")]
    await world.system.worker._run(message)
    assert step_lab.calls == []
    assert (await world.result()).result == "failed"


async def test_a_step_is_come_back_to_when_storage_does_not_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.accept(tool_step("pay"))
    await world.prepare()

    async def out(*_: Any) -> Any:
        raise Unavailable("storage does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(type(world.system.steps), "result", out)
        await world.system.worker.handle(world.message())
    ((again, at),) = world.queue.sent
    assert at is not None
    assert at > world.clock()
    await world.system.worker.handle(again)
    assert (await world.result()).result == "completed"


async def test_a_model_that_is_away_fails_the_attempt_and_not_for_good(world: World) -> None:
    await world.accept(AGENT)
    world.model.replies = [ModelUnavailable("away", provider="script")]
    assert (await world.worked()).retryable


async def test_a_delay_without_end_fails_its_step(world: World) -> None:
    for seconds in ("1e300", "-1.0", "1e11"):
        await world.accept(f"{{name: w, steps: [{{id: a, kind: delay, seconds: '${{{{ {seconds} }}}}'}}]}}")
        assert (await world.prepare(progress=NOTHING)).result == "failed"
