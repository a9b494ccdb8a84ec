"""Runs that are under way when this code is deployed go on as they began: recorded turns are replayed."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from golden import Difference, History, load, replay

from aos.functions import workflow_shell
from aos.functions.step_shell import StepShell
from aos.functions.workflow_shell import WorkflowShell
from aos.kernel.messaging.step_message import step_orchestration
from aos.kernel.workflows.engine import advance

NAMES = ("launched", "rejected", "compensated", "cancelled", "continued")


def replayed(history: History, monkeypatch: pytest.MonkeyPatch) -> list[Difference]:
    monkeypatch.setattr(workflow_shell, "MAX_TURNS", history.max_turns)
    return replay(history)


@pytest.mark.parametrize("name", NAMES)
def test_orchestrators_answer_every_recorded_turn_as_they_did(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    differences = replayed(load(name), monkeypatch)
    assert not differences, "\n".join(map(str, differences[:3]))


@pytest.mark.parametrize(
    ("name", "outcome", "children"),
    [
        ("launched", "completed", {"finance", "technology", "decide", "reserve", "launch"}),
        ("rejected", "completed", {"finance", "technology", "decide"}),
        ("compensated", "failed", {"finance", "technology", "decide", "reserve", "launch", "reserve-undo"}),
        ("cancelled", "cancelled", {"finance", "technology", "decide"}),
        ("continued", "completed", {"finance", "technology", "decide", "reserve", "launch"}),
    ],
)
def test_the_golden_histories_hold_what_they_are_named_for(
    name: str, outcome: str, children: set[str]
) -> None:
    executions = load(name).executions
    runs = [each for each in executions if each.orchestrator == "workflow"]
    steps = [each for each in executions if each.orchestrator == "agent_step"]
    last = runs[-1].turns[-1].actions[-1]["completeOrchestration"]
    assert last["result"] == f'{{"status": "{outcome}"}}'
    assert {
        each.instance.removeprefix(f"{runs[0].instance}-").rpartition("-")[0] for each in steps
    } == children
    assert (len(runs) > 1) == (name == "continued")


def renamed_activity(patch: pytest.MonkeyPatch) -> None:
    call = StepShell._activity

    def renamed(self: StepShell, name: str, value: Any) -> Any:
        return call(self, "fetch_result" if name == "read_result" else name, value)

    patch.setattr(StepShell, "_activity", renamed)


def swapped_order(patch: pytest.MonkeyPatch) -> None:
    """Nothing that the SDK notices: steps that change places have the same orchestrator's name."""

    def reversed_commands(*given: Any) -> tuple[Any, Any]:
        state, commands = advance(*given)
        return state, tuple(reversed(commands))

    patch.setattr(workflow_shell, "advance", reversed_commands)


def changed_input(patch: pytest.MonkeyPatch) -> None:
    work = WorkflowShell._work
    patch.setattr(WorkflowShell, "_work", lambda *given, **named: work(*given, **named) | {"more": 1})


def changed_child_id(patch: pytest.MonkeyPatch) -> None:
    def another(*given: Any, **named: Any) -> str:
        return step_orchestration(*given, **named) + "x"

    patch.setattr(workflow_shell, "step_orchestration", another)


def dropped_settlement(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StepShell, "_settle", lambda self, cost: None)


def clock_of_the_machine(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WorkflowShell, "_now", property(lambda self: time.time()))


@pytest.mark.parametrize(
    "mutation",
    [
        renamed_activity,
        swapped_order,
        changed_input,
        changed_child_id,
        dropped_settlement,
        clock_of_the_machine,
    ],
)
def test_an_orchestrator_that_acts_otherwise_is_caught(
    mutation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    assert replayed(load("launched"), monkeypatch)


def test_what_would_break_a_running_instance_shows_as_non_determinism(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    renamed_activity(monkeypatch)
    assert any("NonDeterminismError" in str(each) for each in replayed(load("launched"), monkeypatch))


def test_a_run_that_moves_at_another_turn_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow_shell, "MAX_TURNS", 150)
    assert replay(load("continued"))
