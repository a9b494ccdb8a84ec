"""What the log says of a run: examples, and a run of the real reducer for any log whatever."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aos.kernel.governance.audit.records import Fact, FactType, LogHead, Record, append
from aos.kernel.workflows import engine
from aos.kernel.workflows import state as run_states
from aos.kernel.workflows.plan import Plan, PlannedStep
from aos.kernel.workflows.projection import Progress, Projection, project
from aos.kernel.workflows.state import StepStatus, new_state

STEPS = ("a", "b", "c")
type Told = tuple[FactType, dict[str, Any], Any]


def at(second: int) -> str:
    return f"2026-01-31T12:{second // 60:02d}:{second % 60:02d}.000Z"


def log(*told: Told) -> list[Record]:
    """Records of these facts, one a second."""
    facts = [
        Fact(id=f"f{n}", type=kind, at=at(n), actor="aos", subject=subject, payload=payload)
        for n, (kind, subject, payload) in enumerate(told)
    ]
    return append(LogHead("r" * 32), facts, [bytes(16)] * len(facts))[1]


def fact(type_: FactType, step: str | None = None, attempt: int | None = None, **payload: Any) -> Told:
    subject: dict[str, Any] = {"step": step} if step else {}
    return type_, subject | ({"attempt": attempt} if attempt else {}), payload


def step_of(run: Projection, step: str = "a") -> Progress:
    return run.steps[step]


def test_a_step_that_nothing_was_said_of_waits():
    assert project(STEPS, []).steps == dict.fromkeys(STEPS, Progress())


def test_a_step_runs_from_its_first_attempt_to_its_end_and_costs_what_all_of_them_cost():
    cost = {"cost_micro_usd": 10, "input_tokens": 3, "output_tokens": 2}
    run = project(
        STEPS,
        log(
            fact(FactType.STEP_SCHEDULED, "a", 1),
            fact(FactType.STEP_RETRYING, "a", 1, reason="busy", **cost),
            fact(FactType.STEP_SCHEDULED, "a", 2),
            fact(FactType.STEP_COMPLETED, "a", 2, **cost),
        ),
    )
    assert step_of(run) == Progress(StepStatus.COMPLETED, 2, at(0), at(3), 20, None)
    assert (run.cost_micro_usd, run.input_tokens, run.output_tokens) == (20, 6, 4)


@pytest.mark.parametrize(
    ("told", "state", "reason"),
    [
        ([fact(FactType.STEP_SCHEDULED, "a", 1)], "running", None),
        ([fact(FactType.STEP_RETRYING, "a", 1, reason="busy")], "retrying", "busy"),
        ([fact(FactType.STEP_PARKED, "a", 1, reason="unknown")], "parked", "unknown"),
        ([fact(FactType.STEP_FAILED, "a", 1, reason="no")], "failed", "no"),
        ([fact(FactType.STEP_SKIPPED, "a")], "skipped", None),
        ([fact(FactType.STEP_SCHEDULED, "a", kind="delay")], "preparing", None),
        ([fact(FactType.DELAY_STARTED, "a", seconds=5.0)], "delayed", None),
        (
            [fact(FactType.STEP_SCHEDULED, "a", kind="approval"), fact(FactType.APPROVAL_REQUESTED, "a")],
            "awaiting_approval",
            None,
        ),
        (
            [
                fact(FactType.STEP_SCHEDULED, "a", 1),
                fact(FactType.APPROVAL_REQUESTED, "a"),
                fact(FactType.APPROVAL_DECIDED, "a", approved=True),
            ],
            "running",
            None,
        ),
        (
            [
                fact(FactType.STEP_PARKED, "a", 1, reason="unknown"),
                fact(FactType.STEP_SCHEDULED, "a", 2),
            ],
            "running",
            None,
        ),
    ],
)
def test_the_state_of_a_step_follows_its_records(told: list[Told], state: str, reason: str | None):
    step = step_of(project(STEPS, log(*told)))
    assert (step.state, step.reason) == (state, reason)


def test_what_is_said_late_of_an_approval_does_not_wake_a_step_that_ended():
    run = project(
        STEPS,
        log(
            fact(FactType.STEP_SCHEDULED, "a", kind="approval"),
            fact(FactType.STEP_COMPLETED, "a"),
            fact(FactType.APPROVAL_REQUESTED, "a"),
            fact(FactType.APPROVAL_DECIDED, "a"),
        ),
    )
    assert (step_of(run).state, step_of(run).ended_at) == ("completed", at(1))


def test_compensations_are_told_apart_from_their_steps_in_the_order_in_which_they_began():
    run = project(
        STEPS,
        log(
            fact(FactType.STEP_COMPLETED, "a", 1),
            fact(FactType.STEP_COMPLETED, "b", 1),
            fact(FactType.COMPENSATION_STARTED, "b", 1),
            fact(FactType.COMPENSATION_FAILED, "b", 1, reason="busy", final=False),
            fact(FactType.COMPENSATION_STARTED, "b", 2),
            fact(FactType.COMPENSATION_COMPLETED, "b", 2),
            fact(FactType.COMPENSATION_STARTED, "a", 1),
            fact(FactType.STEP_PARKED, "a", 1, reason="unknown", compensation=True),
        ),
    )
    assert list(run.compensations) == ["b", "a"]
    assert run.compensations["b"] == Progress(StepStatus.COMPLETED, 2, at(2), at(5))
    assert (run.compensations["a"].state, run.compensations["a"].reason) == ("parked", "unknown")
    assert {run.steps["a"].state, run.steps["b"].state} == {"completed"}


def test_an_approval_that_a_compensation_asks_for_is_the_compensation_s():
    run = project(
        STEPS,
        log(
            fact(FactType.STEP_COMPLETED, "a", 1),
            fact(FactType.COMPENSATION_STARTED, "a", 1),
            fact(FactType.APPROVAL_REQUESTED, "a~undo"),
        ),
    )
    assert run.compensations["a"].state is StepStatus.AWAITING_APPROVAL
    assert run.steps["a"].state is StepStatus.COMPLETED


@pytest.mark.parametrize(("final", "state", "ended"), [(True, "failed", at(1)), (False, "retrying", None)])
def test_a_compensation_fails_for_good_or_is_tried_again(final: bool, state: str, ended: str | None):
    run = project(
        STEPS,
        log(
            fact(FactType.COMPENSATION_STARTED, "a", 1),
            fact(FactType.COMPENSATION_FAILED, "a", 1, reason="no", final=final),
        ),
    )
    undone = run.compensations["a"]
    assert (undone.state, undone.ended_at, undone.reason) == (state, ended, "no")


def test_the_end_of_the_run_calls_off_what_never_ended():
    run = project(
        STEPS,
        log(
            fact(FactType.STEP_FAILED, "a", 1, reason="no"),
            fact(FactType.STEP_SCHEDULED, "b", kind="approval"),
            fact(FactType.RUN_ENDED),
        ),
    )
    assert [run.steps[step].state for step in STEPS] == ["failed", "cancelled", "cancelled"]
    assert [run.steps[step].ended_at for step in STEPS] == [at(0), at(2), None]
    assert run.ended_at == at(2)


def test_a_record_whose_payload_was_erased_still_tells_the_state():
    records = [record.erase() for record in log(fact(FactType.STEP_FAILED, "a", 1, reason="no"))]
    assert step_of(project(STEPS, records)) == Progress(StepStatus.FAILED, ended_at=at(0))


def test_steps_and_types_that_are_not_known_change_nothing():
    records = log(
        fact(FactType.STEP_COMPLETED, "other", 1, cost_micro_usd=5),
        fact(FactType.MODEL_REPLIED, "a", 1, cost_micro_usd=5),
        fact(FactType.RUN_CANCEL_REQUESTED),
    )
    assert project(STEPS, records) == project(STEPS, [])


def planned(name: str, *needs: str) -> PlannedStep:
    return PlannedStep(name, "tool", needs, False, 60.0, 2, 1.0, 2.0, 10.0, True)


PLAN: Plan = {"a": planned("a"), "b": planned("b"), "c": planned("c", "a", "b")}
RESULTS = st.sampled_from(["completed", "failed", "parked", "skipped"])


@given(st.data())
def test_the_log_of_any_run_tells_the_same_states_as_the_engine_that_wrote_it(data: st.DataObject):
    """Only what the engine withdraws without a record is told later, at the end of the run."""
    told: list[Told] = []
    running: list[run_states.RunStep] = []
    timers: list[run_states.StartTimer] = []
    state = new_state(PLAN)
    event: run_states.Event | None = run_states.Started()
    for _ in range(40):
        if event is None:
            break
        state, commands = engine.advance(PLAN, state, event, 0.0)
        for command in commands:
            match command:
                case run_states.Record(kind, subject, payload):
                    told.append((FactType(kind), dict(subject), dict(payload)))
                case run_states.RunStep():
                    running.append(command)
                case run_states.StartTimer():
                    timers.append(command)
                case run_states.End():
                    told.append(fact(FactType.RUN_ENDED))
        event = next_event(data, state, running, timers)
        run = project(PLAN, log(*told))
        for name, step in state.steps.items():
            assert agree(step.status, run.steps[name], run), name
            assert run.steps[name].attempt == step.attempt
        for name, undo in state.undo.items():
            assert agree(undo.status, run.compensations.get(name, Progress()), run), name
        assert run.cost_micro_usd <= state.cost_micro_usd


def agree(status: StepStatus, told: Progress, run: Projection) -> bool:
    if status is StepStatus.CANCELLED and run.ended_at is None:
        return not told.ended
    return told.state is status


def next_event(
    data: st.DataObject,
    state: run_states.RunState,
    running: list[run_states.RunStep],
    timers: list[run_states.StartTimer],
) -> run_states.Event | None:
    parked = [name for name, s in {**state.steps, **state.undo}.items() if s.status is StepStatus.PARKED]
    choices = [*running, *timers, *parked]
    if not choices or state.phase is run_states.Phase.ENDED:
        return run_states.OutputEvaluated() if state.phase is run_states.Phase.CONCLUDING else None
    match data.draw(st.sampled_from(choices)):
        case run_states.RunStep() as work:
            running.remove(work)
            result = data.draw(RESULTS)
            return run_states.StepEnded(
                work.step,
                work.attempt,
                result,
                compensation=work.compensation,
                retryable=data.draw(st.booleans()),
                effects=data.draw(st.booleans()),
                reason="r",
                cost_micro_usd=3,
            )
        case run_states.StartTimer() as timer:
            timers.remove(timer)
            return run_states.TimerFired(timer.step, timer.at, timer.compensation)
        case name:
            return run_states.Rang("resolution", name)
