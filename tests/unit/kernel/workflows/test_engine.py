"""The run reducer under every order of events that hypothesis can think of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aos.kernel.workflows.engine import advance, drain
from aos.kernel.workflows.plan import Plan, PlannedStep, plan_from_json, plan_to_json
from aos.kernel.workflows.state import (
    ENDED,
    ApprovalRead,
    CancelRead,
    Command,
    End,
    EvaluateOutput,
    Event,
    OutputEvaluated,
    Phase,
    Prepare,
    Prepared,
    Rang,
    ReadCancel,
    Record,
    Resumed,
    RunOutcome,
    RunState,
    RunStep,
    SettleApproval,
    Started,
    StartTimer,
    StepEnded,
    StepStatus,
    TimerFired,
    new_state,
    state_from_json,
)


def planned(id_: str, *, needs: tuple[str, ...] = (), kind: str = "tool", **changes: Any) -> PlannedStep:
    step = PlannedStep(
        id=id_,
        kind=kind,
        needs=needs,
        conditional=False,
        timeout_s=60.0,
        max_attempts=3,
        backoff_s=1.0,
        multiplier=2.0,
        max_backoff_s=10.0,
        compensated=False,
    )
    return replace(step, **changes)


def plan_of(*steps: PlannedStep) -> Plan:
    return {step.id: step for step in steps}


@dataclass
class Shell:
    """Carries commands out in an order that the test chooses, as the orchestrator does durably."""

    plan: Plan
    state: RunState
    now: float = 1_000.0
    pending: list[Command] = field(default_factory=list)
    history: list[Command] = field(default_factory=list)

    def feed(self, event: Event) -> tuple[Command, ...]:
        self.state, commands = advance(self.plan, self.state, event, self.now)
        self.state = state_from_json(self.state.to_json())
        self.history += commands
        self.pending += [c for c in commands if not isinstance(c, Record | End)]
        return commands

    def ended(self) -> End | None:
        ends = [c for c in self.history if isinstance(c, End)]
        assert len(ends) <= 1
        return ends[0] if ends else None

    def take(self, kind: type[Any], step: str | None = None) -> Any:
        for command in self.pending:
            if isinstance(command, kind) and (step is None or command.step == step):  # type: ignore[union-attr]
                self.pending.remove(command)
                return command
        raise AssertionError(f"no {kind.__name__} of {step} in {self.pending}")

    def dispatched(self, *, compensation: bool = False) -> list[str]:
        return [c.step for c in self.history if isinstance(c, RunStep) and c.compensation is compensation]

    def finish(self, step: str, result: str = "completed", **more: Any) -> tuple[Command, ...]:
        command = self.take(RunStep, step)
        return self.feed(StepEnded(step, command.attempt, result, compensation=command.compensation, **more))


def start(*steps: PlannedStep) -> Shell:
    plan = plan_from_json(plan_to_json(plan_of(*steps)))
    shell = Shell(plan, new_state(plan))
    shell.feed(Started())
    return shell


def test_independent_steps_start_together_and_a_join_waits_for_both() -> None:
    shell = start(planned("a"), planned("b"), planned("c", needs=("a", "b")))
    assert shell.dispatched() == ["a", "b"]
    shell.finish("b")
    assert shell.dispatched() == ["a", "b"]
    shell.finish("a")
    assert shell.dispatched() == ["a", "b", "c"]


def test_a_run_ends_completed_after_its_output_is_evaluated() -> None:
    shell = start(planned("a"))
    assert EvaluateOutput() in shell.finish("a", cost_micro_usd=5, input_tokens=2, output_tokens=1)
    assert shell.feed(OutputEvaluated()) == (End(RunOutcome.COMPLETED),)
    assert (shell.state.cost_micro_usd, shell.state.input_tokens, shell.state.output_tokens) == (5, 2, 1)


def test_a_retryable_failure_is_tried_again_after_growing_waits_until_attempts_run_out() -> None:
    shell = start(planned("a"))
    waits = []
    for _ in range(2):
        shell.finish("a", "failed", retryable=True, reason="busy")
        timer = shell.take(StartTimer, "a")
        waits.append(timer.at - shell.now)
        shell.now = timer.at
        shell.feed(TimerFired("a", timer.at))
    assert waits == [1.0, 2.0]
    commands = shell.finish("a", "failed", retryable=True, reason="busy")
    assert End(RunOutcome.FAILED, "step a: busy") in commands
    assert shell.dispatched() == ["a", "a", "a"]


def test_a_timer_of_an_earlier_wait_changes_nothing() -> None:
    shell = start(planned("a"))
    shell.finish("a", "failed", retryable=True)
    before = shell.state
    assert shell.feed(TimerFired("a", shell.now - 1)) == ()
    assert shell.state == before


def test_completed_steps_are_undone_in_reverse_order_after_a_failure() -> None:
    shell = start(
        planned("a", compensated=True),
        planned("b", needs=("a",), compensated=True),
        planned("c", needs=("b",)),
    )
    for step in ("a", "b"):
        shell.finish(step)
    shell.finish("c", "failed", reason="no")
    assert shell.dispatched(compensation=True) == ["b"]
    shell.finish("b")
    assert shell.finish("a")[-1] == End(RunOutcome.FAILED, "step c: no")
    assert shell.dispatched(compensation=True) == ["b", "a"]


def test_a_failed_step_whose_effect_happened_is_undone() -> None:
    shell = start(planned("a", compensated=True, max_attempts=1))
    shell.finish("a", "failed", effects=True, reason="late")
    assert shell.dispatched(compensation=True) == ["a"]


def test_a_failed_step_without_effect_is_not_undone() -> None:
    shell = start(planned("a", compensated=True, max_attempts=1))
    assert shell.finish("a", "failed", reason="late")[-1] == End(RunOutcome.FAILED, "step a: late")


def test_a_step_in_doubt_whose_run_stops_finds_out_and_is_undone() -> None:
    shell = start(planned("a", compensated=True), planned("b"), planned("c"))
    shell.finish("a", "failed", retryable=True, in_doubt=True, reason="late")
    shell.finish("b", "failed", reason="no")  # while a waits for its next attempt
    shell.finish("c", "failed", retryable=True, in_doubt=True, reason="late")  # while the run stops
    assert [c.final for c in shell.pending if isinstance(c, RunStep)] == [True, True]
    shell.finish("c", "failed", retryable=True, reason="it did not happen")
    shell.finish("a")
    assert shell.dispatched() == ["a", "b", "c", "a", "c"]
    assert shell.dispatched(compensation=True) == ["a"]


def test_undoing_waits_for_what_is_in_flight_and_undoes_it_too() -> None:
    shell = start(planned("a", compensated=True), planned("b"))
    shell.finish("b", "failed", reason="no")
    assert shell.dispatched(compensation=True) == []
    shell.finish("a")
    assert shell.dispatched(compensation=True) == ["a"]


def test_a_compensation_that_keeps_failing_is_recorded_and_the_next_one_runs() -> None:
    shell = start(
        planned("a", compensated=True),
        planned("b", needs=("a",), compensated=True),
        planned("c", needs=("b",)),
    )
    shell.finish("a")
    shell.finish("b")
    shell.finish("c", "failed", reason="no")
    for _ in range(7):
        shell.finish("b", "failed", retryable=True, reason="busy")
        timer = shell.take(StartTimer, "b")
        shell.feed(TimerFired("b", timer.at, compensation=True))
    commands = shell.finish("b", "failed", retryable=True, reason="busy")
    assert commands[0] == Record(
        "compensation.failed", {"step": "b", "attempt": 8}, {"reason": "busy", "final": True}
    )
    assert RunStep("a", 1, compensation=True) in commands


def test_a_skipped_step_takes_its_dependents_along_but_for_those_with_a_condition() -> None:
    shell = start(
        planned("a"),
        planned("b", needs=("a",)),
        planned("c", needs=("b",)),
        planned("d", needs=("b",), conditional=True),
    )
    shell.finish("a", "skipped")
    assert shell.state.steps["b"].status is StepStatus.SKIPPED
    assert shell.state.steps["c"].status is StepStatus.SKIPPED
    assert shell.dispatched() == ["a", "d"]


def test_a_parked_step_goes_on_when_its_effect_is_resolved() -> None:
    shell = start(planned("a"))
    shell.finish("a", "parked", reason="effect e")
    assert shell.feed(Rang("resolution", "b")) == ()
    assert RunStep("a", 2) in shell.feed(Rang("resolution", "a"))


def test_a_run_does_not_undo_while_an_effect_is_unknown() -> None:
    shell = start(planned("a", compensated=True), planned("b"))
    shell.finish("a", "parked")
    shell.finish("b", "failed", reason="no")
    assert shell.dispatched(compensation=True) == []
    shell.feed(Rang("resolution", "a"))
    shell.finish("a")
    assert shell.dispatched(compensation=True) == ["a"]


def approve(shell: Shell, step: str, status: str) -> tuple[Command, ...]:
    shell.take(Prepare, step)
    shell.feed(Prepared(step, "ready"))
    shell.feed(Rang("approval", step))
    return shell.feed(ApprovalRead(step, status, "ann", "figures hold"))


def test_an_approved_step_lets_its_dependents_go() -> None:
    shell = start(planned("ok", kind="approval"), planned("b", needs=("ok",)))
    assert RunStep("b", 1) in approve(shell, "ok", "approved")


def test_a_rejected_approval_fails_the_run_and_names_who_and_why() -> None:
    shell = start(planned("ok", kind="approval"), planned("b", needs=("ok",)))
    end = approve(shell, "ok", "rejected")[-1]
    assert end == End(RunOutcome.FAILED, "step ok: approval rejected by ann: figures hold")


def test_an_approval_that_nobody_gives_expires_unless_it_was_given_at_the_last_moment() -> None:
    shell = start(planned("ok", kind="approval"))
    shell.feed(Prepared("ok", "ready"))
    timer = shell.take(StartTimer, "ok")
    assert shell.feed(TimerFired("ok", timer.at)) == (SettleApproval("ok", close="expired"),)
    assert EvaluateOutput() in shell.feed(ApprovalRead("ok", "approved", "ann"))


def test_a_step_that_policy_sends_to_approval_is_dispatched_again_once_approved() -> None:
    shell = start(planned("a"))
    shell.finish("a", "needs_approval")
    assert shell.take(StartTimer, "a").at > 600_000  # a person has a week, however short the step's time is
    assert RunStep("a", 2) in shell.feed(ApprovalRead("a", "approved", "ann"))


def test_a_cancelled_run_withdraws_waits_and_undoes() -> None:
    shell = start(
        planned("a", compensated=True),
        planned("ok", kind="approval", needs=("a",)),
        planned("c", needs=("ok",)),
    )
    shell.finish("a")
    shell.feed(Prepared("ok", "ready"))
    assert shell.feed(Rang("cancel")) == (ReadCancel(),)
    commands = shell.feed(CancelRead(True, "ann", "changed our mind"))
    assert SettleApproval("ok", close="withdrawn") in commands
    assert shell.dispatched(compensation=True) == ["a"]
    assert shell.finish("a")[-1] == End(RunOutcome.CANCELLED, "changed our mind")


def test_a_cancel_that_was_not_asked_for_changes_nothing() -> None:
    shell = start(planned("a"))
    before = shell.state
    shell.feed(CancelRead(False))
    assert shell.state == before


def test_an_output_that_cannot_be_evaluated_fails_the_run_and_undoes_it() -> None:
    shell = start(planned("a", compensated=True))
    shell.finish("a")
    shell.feed(OutputEvaluated("no such key"))
    assert shell.dispatched(compensation=True) == ["a"]
    assert shell.finish("a")[-1] == End(RunOutcome.FAILED, "output: no such key")


def test_a_draining_run_starts_nothing_and_takes_up_timers_and_steps_when_resumed() -> None:
    shell = start(planned("a"), planned("wait", kind="delay"), planned("b", needs=("a",)))
    shell.take(Prepare, "wait")
    shell.feed(Prepared("wait", "ready", seconds=50.0))
    shell.state = drain(shell.state)
    shell.finish("a")
    assert shell.dispatched() == ["a"]
    commands = shell.feed(Resumed())
    assert StartTimer("wait", 1_050.0) in commands
    assert RunStep("b", 1) in commands


def test_an_ended_run_takes_no_event() -> None:
    shell = start(planned("a"))
    shell.finish("a")
    shell.feed(OutputEvaluated())
    before = shell.state
    assert shell.feed(CancelRead(True)) == ()
    assert shell.state == before


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    ids = [f"s{n}" for n in range(draw(st.integers(1, 7)))]
    steps = []
    for index, id_ in enumerate(ids):
        kind = draw(st.sampled_from(("tool", "agent", "approval", "delay")))
        needs = draw(st.sets(st.sampled_from(ids[:index]), max_size=3)) if index else set()
        acts = kind in ("tool", "agent")
        steps.append(
            planned(
                id_,
                kind=kind,
                needs=tuple(sorted(needs)),
                conditional=draw(st.booleans()),
                compensated=acts and draw(st.booleans()),
                max_attempts=draw(st.integers(1, 3)),
            )
        )
    return plan_of(*steps)


def answer(shell: Shell, command: Command, data: st.DataObject) -> Event:
    """What the world says to a command: anything that it may say."""
    match command:
        case Prepare(step):
            return Prepared(step, data.draw(st.sampled_from(("ready", "skipped", "failed"))), seconds=5.0)
        case RunStep(step, attempt, compensation, final):
            results = (
                ("completed",) * 3
                + ("failed", "parked")
                + (() if compensation else ("skipped", "needs_approval"))
            )
            result = data.draw(st.sampled_from(results))
            return StepEnded(
                step,
                attempt,
                result,
                compensation,
                data.draw(st.booleans()),
                data.draw(st.booleans()),
                "why",
                7,
                2,
                1,
                in_doubt=not final and data.draw(st.booleans()),
            )
        case StartTimer(step, at, compensation):
            shell.now = max(shell.now, at)
            return TimerFired(step, at, compensation)
        case SettleApproval(step, close):
            status = data.draw(st.sampled_from(("requested", "approved", "rejected")))
            return ApprovalRead(step, close or status, "ann")
        case ReadCancel():
            return CancelRead(data.draw(st.booleans()), "ann", "why")
        case EvaluateOutput():
            return OutputEvaluated(data.draw(st.sampled_from((None, None, "bad"))))
        case _:
            raise AssertionError(command)


def stray(shell: Shell, data: st.DataObject) -> Event:
    """An event that nobody waits for: repeated, late, or for nothing."""
    step = data.draw(st.sampled_from(sorted(shell.plan)))
    return data.draw(
        st.sampled_from(
            (
                Rang("approval", step),
                Rang("resolution", step),
                Rang("approval", None),
                Rang("cancel"),
                TimerFired(step, -1.0),
                TimerFired(step, -1.0, compensation=True),
                StepEnded(step, 0, "completed"),
                StepEnded(step, 99, "failed", compensation=True),
                ApprovalRead(step, "requested"),
            )
        )
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plans(), st.data())
def test_every_run_ends_once_and_undoes_what_it_did(plan: Plan, data: st.DataObject) -> None:
    shell = Shell(plan, new_state(plan))
    shell.feed(Started())
    undoable: list[str] = []
    disturbances = data.draw(st.lists(st.sampled_from(("stray", "drain", None)), max_size=40))
    for turn in range(600):
        if shell.ended():
            break
        disturbance = disturbances[turn] if turn < len(disturbances) else None
        if disturbance == "stray":
            shell.feed(stray(shell, data))
        elif shell.state.draining and not any(not isinstance(c, StartTimer) for c in shell.pending):
            shell.pending.clear()
            shell.feed(Resumed())
        elif disturbance == "drain":
            shell.state = drain(shell.state)
        elif shell.pending:
            command = shell.pending.pop(data.draw(st.integers(0, len(shell.pending) - 1)))
            event = answer(shell, command, data)
            before = shell.state
            shell.feed(event)
            undoable += [
                name
                for name, step in shell.state.steps.items()
                if plan[name].compensated
                and step.status is StepStatus.COMPLETED
                and before.steps[name].status is not StepStatus.COMPLETED
            ]
        else:
            wake_somebody(shell)
    end = shell.ended()
    assert end is not None, (shell.state, shell.pending)
    assert shell.state.phase is Phase.ENDED
    assert all(step.status in ENDED for step in shell.state.steps.values())
    check_order_and_compensation(shell, end, undoable)


def wake_somebody(shell: Shell) -> None:
    """With nothing pending, a run waits for a person: answer as one would in the end."""
    for name, step in shell.state.steps.items():
        if step.status is StepStatus.PARKED:
            shell.feed(Rang("resolution", name))
            return
        if step.status is StepStatus.AWAITING_APPROVAL:
            shell.feed(ApprovalRead(name, "approved", "ann"))
            return
    for name, undo in shell.state.undo.items():
        if undo.status is StepStatus.PARKED:
            shell.feed(Rang("resolution", name))
            return
    raise AssertionError(f"the run hangs: {shell.state}")


def check_order_and_compensation(shell: Shell, end: End, undoable: list[str]) -> None:
    undone = list(dict.fromkeys(shell.dispatched(compensation=True)))
    if end.outcome is RunOutcome.COMPLETED:
        assert undone == []
        return
    assert [step for step in undone if step in undoable] == list(reversed(undoable))
    first = next((i for i, c in enumerate(shell.history) if isinstance(c, RunStep) and c.compensation), None)
    if first is not None:
        assert not any(isinstance(c, RunStep) and not c.compensation for c in shell.history[first:])


@pytest.mark.parametrize("failures", [1, 2, 3, 10, 50])
def test_backoff_grows_to_its_limit(failures: int) -> None:
    assert planned("a").backoff(failures) == min(10.0, 2.0 ** (failures - 1))
