"""The saga: what a run that failed or was cancelled does to undo what it did.

Compensations run one after the other, in the reverse of the order in which their steps ended. One that
fails is tried again with backoff; one that keeps failing is recorded as failed, for an operator to see,
and the next one runs all the same: giving up on one is no reason to leave the others undone.
"""

from __future__ import annotations

from dataclasses import replace

from aos.kernel.workflows.plan import Plan
from aos.kernel.workflows.state import (
    ENDED,
    Command,
    End,
    Phase,
    Record,
    RunOutcome,
    RunState,
    RunStep,
    StartTimer,
    StepEnded,
    StepState,
    StepStatus,
    TimerFired,
)

MAX_ATTEMPTS = 8
BACKOFF_S = 1.0
MAX_BACKOFF_S = 60.0

type Result = tuple[RunState, tuple[Command, ...]]


def begin(plan: Plan, state: RunState) -> Result:
    """Enter the compensating phase; ``next_undo`` starts the first compensation or ends the run."""
    undo = {name: StepState() for name in reversed(state.finished) if plan[name].compensated}
    return next_undo(replace(state, phase=Phase.COMPENSATING, undo=undo))


def next_undo(state: RunState) -> Result:
    """Start the next compensation if none is under way; end the run after the last."""
    for name, undo in state.undo.items():
        if undo.status in ENDED:
            continue
        if undo.status is not StepStatus.WAITING or state.draining:
            return state, ()
        return dispatch(state, name, undo)
    if state.draining:
        return state, ()
    outcome = RunOutcome.CANCELLED if state.cancelled else RunOutcome.FAILED
    return replace(state, phase=Phase.ENDED), (End(outcome, state.failure),)


def dispatch(state: RunState, name: str, undo: StepState) -> Result:
    """Run the compensation of ``name``, once more if it ran before."""
    attempt = undo.attempt + 1
    state = _put(state, name, replace(undo, status=StepStatus.RUNNING, attempt=attempt, wake_at=None))
    record = Record("compensation.started", {"step": name, "attempt": attempt})
    final = undo.failures + 1 >= MAX_ATTEMPTS
    return state, (record, RunStep(name, attempt, compensation=True, final=final))


def compensated(state: RunState, event: StepEnded, at: float) -> Result:
    """Take the end of a compensation's dispatch."""
    undo = state.undo.get(event.step)
    if undo is None or undo.status is not StepStatus.RUNNING or undo.attempt != event.attempt:
        return state, ()
    state = charge(state, event)
    subject = {"step": event.step, "attempt": event.attempt}
    match event.result:
        case "completed" | "skipped":
            done = _put(state, event.step, replace(undo, status=StepStatus.COMPLETED))
            return done, (Record("compensation.completed", subject),)
        case "parked":
            parked = _put(state, event.step, replace(undo, status=StepStatus.PARKED, reason=event.reason))
            return parked, (Record("step.parked", subject, {"reason": event.reason, "compensation": True}),)
        case _:
            return _failed(state, event, undo, at)


def _failed(state: RunState, event: StepEnded, undo: StepState, at: float) -> Result:
    failures = undo.failures + 1
    undo = replace(undo, failures=failures, reason=event.reason)
    final = not event.retryable or failures >= MAX_ATTEMPTS
    payload = {"reason": event.reason, "final": final}
    record = Record("compensation.failed", {"step": event.step, "attempt": event.attempt}, payload)
    if final:
        return _put(state, event.step, replace(undo, status=StepStatus.FAILED)), (record,)
    wake_at = at + min(MAX_BACKOFF_S, BACKOFF_S * 2.0 ** (failures - 1))
    state = _put(state, event.step, replace(undo, status=StepStatus.RETRYING, wake_at=wake_at))
    return state, (record, StartTimer(event.step, wake_at, compensation=True))


def timer_fired(state: RunState, event: TimerFired) -> Result:
    """Make a compensation that waited for its next try ready for it."""
    undo = state.undo.get(event.step)
    if undo is None or undo.status is not StepStatus.RETRYING or undo.wake_at != event.at:
        return state, ()
    return _put(state, event.step, replace(undo, status=StepStatus.WAITING, wake_at=None)), ()


def charge(state: RunState, event: StepEnded) -> RunState:
    """Add what a dispatch used to the run's totals."""
    return replace(
        state,
        cost_micro_usd=state.cost_micro_usd + event.cost_micro_usd,
        input_tokens=state.input_tokens + event.input_tokens,
        output_tokens=state.output_tokens + event.output_tokens,
    )


def _put(state: RunState, name: str, undo: StepState) -> RunState:
    return replace(state, undo={**state.undo, name: undo})
