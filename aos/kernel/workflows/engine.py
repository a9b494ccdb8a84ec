"""The run reducer: ``advance(plan, state, event, at) -> (state, commands)``.

A run goes forward over its graph until every step has ended, then evaluates its output. When a step
fails for good, or the run is cancelled, nothing more is started; what is in flight comes to its end;
then the saga undoes what was done (``saga``). An event that no longer fits (a timer of an earlier
wait, an answer that came twice, a doorbell for nothing) changes nothing.

``ENGINE`` numbers the commands that this reducer gives. A change of them is a new number: a run goes
on under the one it started with until it continues in a fresh history.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from aos.kernel.workflows import saga
from aos.kernel.workflows.plan import Plan, PlannedStep
from aos.kernel.workflows.state import (
    ENDED,
    IN_FLIGHT,
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
    StepState,
    StepStatus,
    TimerFired,
)

ENGINE = 1
IMPLICIT_APPROVAL_S = 604_800.0
"""How long an approval that a policy asks for stays open: a week, whatever the step itself may take."""
type Result = tuple[RunState, tuple[Command, ...]]


def advance(plan: Plan, state: RunState, event: Event, at: float) -> Result:
    """Take one event, which happened ``at`` (unix seconds), and say what follows from it."""
    if state.phase is Phase.ENDED:
        return state, ()
    state, commands = _take(plan, state, event, at)
    state, more = _progress(plan, state)
    return state, commands + more


def drain(state: RunState) -> RunState:
    """Return the state in which nothing new is started, so that the run can move to a fresh history."""
    return replace(state, draining=True)


def _take(plan: Plan, state: RunState, event: Event, at: float) -> Result:
    match event:
        case Started():
            return state, ()
        case Resumed():
            return _resume(state)
        case Prepared():
            return _prepared(plan, state, event, at)
        case StepEnded(compensation=True):
            return saga.compensated(state, event, at)
        case StepEnded():
            return _step_ended(plan, state, event, at)
        case TimerFired(compensation=True):
            return saga.timer_fired(state, event)
        case TimerFired():
            return _timer_fired(state, event)
        case Rang():
            return _rang(plan, state, event)
        case ApprovalRead():
            return _approval_read(plan, state, event)
        case CancelRead():
            return _cancel_read(state, event)
        case OutputEvaluated():
            return _output_evaluated(state, event)


def _resume(state: RunState) -> Result:
    timers = [StartTimer(step, s.wake_at) for step, s in state.steps.items() if s.wake_at is not None]
    undo = [StartTimer(step, s.wake_at, True) for step, s in state.undo.items() if s.wake_at is not None]
    return replace(state, draining=False), (*timers, *undo)


def _prepared(plan: Plan, state: RunState, event: Prepared, at: float) -> Result:
    step = state.steps[event.step]
    if step.status is not StepStatus.PREPARING:
        return state, ()
    if event.result == "skipped":
        return _put(state, event.step, replace(step, status=StepStatus.SKIPPED)), (
            _record("step.skipped", event.step),
        )
    if event.result == "failed":
        return _failed(state, event.step, step, event.reason)
    approval = plan[event.step].kind == "approval"
    wake_at = at + (plan[event.step].timeout_s if approval else event.seconds)
    status = StepStatus.AWAITING_APPROVAL if approval else StepStatus.DELAYED
    state = _put(state, event.step, replace(step, status=status, wake_at=wake_at))
    commands: list[Command] = [StartTimer(event.step, wake_at)]
    if approval:
        commands.append(SettleApproval(event.step))
    else:
        commands.append(_record("delay.started", event.step, seconds=event.seconds))
    return state, tuple(commands)


def _step_ended(plan: Plan, state: RunState, event: StepEnded, at: float) -> Result:
    step = state.steps[event.step]
    if step.status is not StepStatus.RUNNING or step.attempt != event.attempt:
        return state, ()
    state = saga.charge(state, event)
    step = replace(step, effects=step.effects or event.effects, in_doubt=event.in_doubt, reason=event.reason)
    match event.result:
        case "completed":
            state = replace(state, finished=(*state.finished, event.step))
            done = replace(step, status=StepStatus.COMPLETED)
            return _put(state, event.step, done), (
                _record("step.completed", event.step, step.attempt, **_cost(event)),
            )
        case "skipped":
            done = replace(step, status=StepStatus.SKIPPED)
            return _put(state, event.step, done), (_record("step.skipped", event.step, step.attempt),)
        case "parked":
            parked = _record("step.parked", event.step, step.attempt, reason=event.reason)
            return _put(state, event.step, replace(step, status=StepStatus.PARKED)), (parked,)
        case "needs_approval":
            wake_at = at + IMPLICIT_APPROVAL_S
            state = _put(
                state, event.step, replace(step, status=StepStatus.AWAITING_APPROVAL, wake_at=wake_at)
            )
            return state, (StartTimer(event.step, wake_at), SettleApproval(event.step))
        case _:
            return _step_failed(plan, state, event, step, at)


def _step_failed(plan: Plan, state: RunState, event: StepEnded, step: StepState, at: float) -> Result:
    planned, failures = plan[event.step], step.failures + 1
    if event.retryable and failures < planned.max_attempts and not state.stopping:
        wake_at = at + planned.backoff(failures)
        step = replace(step, status=StepStatus.RETRYING, failures=failures, wake_at=wake_at)
        record = _record("step.retrying", event.step, event.attempt, reason=event.reason, **_cost(event))
        return _put(state, event.step, step), (record, StartTimer(event.step, wake_at))
    if step.in_doubt:
        record = _record("step.retrying", event.step, event.attempt, reason=event.reason, **_cost(event))
        state, started = _dispatch(plan, state, event.step, replace(step, failures=failures), final=True)
        return state, (record, *started)
    if step.effects:
        state = replace(state, finished=(*state.finished, event.step))
    return _failed(state, event.step, replace(step, failures=failures), event.reason, **_cost(event))


def _failed(state: RunState, name: str, step: StepState, reason: str | None, **payload: Any) -> Result:
    state = _put(state, name, replace(step, status=StepStatus.FAILED, wake_at=None, reason=reason))
    failure = state.failure or f"step {name}: {reason}"
    record = _record("step.failed", name, step.attempt or None, reason=reason, **payload)
    return replace(state, failure=failure), (record,)


def _timer_fired(state: RunState, event: TimerFired) -> Result:
    step = state.steps[event.step]
    if step.wake_at != event.at:
        return state, ()
    woken = replace(step, wake_at=None)
    match step.status:
        case StepStatus.DELAYED:
            state = replace(state, finished=(*state.finished, event.step))
            done = _put(state, event.step, replace(woken, status=StepStatus.COMPLETED))
            return done, (_record("step.completed", event.step),)
        case StepStatus.AWAITING_APPROVAL:
            return _put(state, event.step, woken), (SettleApproval(event.step, close="expired"),)
        case StepStatus.RETRYING:
            return _put(state, event.step, replace(woken, status=StepStatus.WAITING)), ()
        case _:
            return state, ()


def _rang(plan: Plan, state: RunState, event: Rang) -> Result:
    if event.kind == "cancel":
        return state, (ReadCancel(),)
    if event.kind == "resolution":
        return _unpark(plan, state, event.step)
    step = state.steps.get(event.step or "")
    if step is None or step.status is not StepStatus.AWAITING_APPROVAL:
        return state, ()
    return state, (SettleApproval(str(event.step)),)


def _unpark(plan: Plan, state: RunState, name: str | None) -> Result:
    """Dispatch every parked work of this step again: the row says what the operator found."""
    commands: list[Command] = []
    step = state.steps.get(name or "")
    if name and step and step.status is StepStatus.PARKED:
        state, started = _dispatch(plan, state, name, step)
        commands += started
    undo = state.undo.get(name or "")
    if name and undo and undo.status is StepStatus.PARKED:
        state, started = saga.dispatch(state, name, undo)
        commands += started
    return state, tuple(commands)


def _approval_read(plan: Plan, state: RunState, event: ApprovalRead) -> Result:
    step = state.steps[event.step]
    if step.status is not StepStatus.AWAITING_APPROVAL or event.status == "requested":
        return state, ()
    step = replace(step, wake_at=None)
    if event.status != "approved":
        return _failed(state, event.step, step, _refusal(event))
    if plan[event.step].kind != "approval":
        return _dispatch(plan, state, event.step, step)
    state = _put(state, event.step, replace(step, status=StepStatus.COMPLETED))
    return state, (_record("step.completed", event.step),)


def _refusal(event: ApprovalRead) -> str:
    by = f" by {event.actor}" if event.actor else ""
    return f"approval {event.status}{by}" + (f": {event.reason}" if event.reason else "")


def _cancel_read(state: RunState, event: CancelRead) -> Result:
    if not event.requested or state.cancelled or state.phase is Phase.COMPENSATING:
        return state, ()
    phase = Phase.FORWARD  # a run that was about to conclude goes back instead
    return replace(state, cancelled=True, phase=phase, failure=state.failure or event.reason), ()


def _output_evaluated(state: RunState, event: OutputEvaluated) -> Result:
    if state.phase is not Phase.CONCLUDING:
        return state, ()
    if event.reason is not None:
        return replace(state, phase=Phase.FORWARD, failure=f"output: {event.reason}"), ()
    return replace(state, phase=Phase.ENDED), (End(RunOutcome.COMPLETED),)


def _progress(plan: Plan, state: RunState) -> Result:
    if state.phase is Phase.FORWARD and state.stopping:
        return _stop(plan, state)
    if state.phase is Phase.COMPENSATING:
        return saga.next_undo(state)
    if state.phase is not Phase.FORWARD:
        return state, ()
    state, commands = _admit(plan, state)
    if all(step.status in ENDED for step in state.steps.values()) and not state.draining:
        return replace(state, phase=Phase.CONCLUDING), (*commands, EvaluateOutput())
    return state, commands


def _admit(plan: Plan, state: RunState) -> Result:
    """Start every step whose dependencies have ended; skips may make further steps ready."""
    commands: list[Command] = []
    for name in _ready(plan, state):
        step, planned = state.steps[name], plan[name]
        if _inherits_skip(planned, state):
            state = _put(state, name, replace(step, status=StepStatus.SKIPPED))
            state, more = _admit(plan, state)
            return state, (*commands, _record("step.skipped", name), *more)
        if state.draining:
            continue
        if planned.kind in ("agent", "tool"):
            state, started = _dispatch(plan, state, name, step)
            commands += started
        else:
            state = _put(state, name, replace(step, status=StepStatus.PREPARING))
            commands += [_record("step.scheduled", name, kind=planned.kind), Prepare(name)]
    return state, tuple(commands)


def _ready(plan: Plan, state: RunState) -> Iterable[str]:
    for name, planned in plan.items():
        if state.steps[name].status is StepStatus.WAITING:
            needs = (state.steps[needed].status for needed in planned.needs)
            if all(status in (StepStatus.COMPLETED, StepStatus.SKIPPED) for status in needs):
                yield name


def _inherits_skip(planned: PlannedStep, state: RunState) -> bool:
    """A step goes the way of a skipped dependency, unless it has a condition of its own."""
    skipped = any(state.steps[needed].status is StepStatus.SKIPPED for needed in planned.needs)
    return skipped and not planned.conditional


def _dispatch(plan: Plan, state: RunState, name: str, step: StepState, *, final: bool = False) -> Result:
    attempt = step.attempt + 1
    state = _put(state, name, replace(step, status=StepStatus.RUNNING, attempt=attempt, wake_at=None))
    final = final or step.failures + 1 >= plan[name].max_attempts
    return state, (_record("step.scheduled", name, attempt), RunStep(name, attempt, final=final))


def _stop(plan: Plan, state: RunState) -> Result:
    """Withdraw what has not begun; when nothing is in flight, begin to undo.

    A step that waits to find out whether its effect happened finds out first: it may have to be undone.
    """
    commands: list[Command] = []
    for name, step in state.steps.items():
        if step.status in ENDED or step.status in IN_FLIGHT:
            continue
        if step.in_doubt and step.status is not StepStatus.AWAITING_APPROVAL:
            state, started = _dispatch(plan, state, name, step, final=True)
            commands += started
            continue
        if step.status is StepStatus.AWAITING_APPROVAL:
            commands.append(SettleApproval(name, close="withdrawn"))
        if step.effects:
            state = replace(state, finished=(*state.finished, name))
        state = _put(state, name, replace(step, status=StepStatus.CANCELLED, wake_at=None))
    if any(step.status in IN_FLIGHT for step in state.steps.values()):
        return state, tuple(commands)
    state, more = saga.begin(plan, state)
    return state, (*commands, *more)


def _put(state: RunState, name: str, step: StepState) -> RunState:
    return replace(state, steps={**state.steps, name: step})


def _record(type_: str, step: str, attempt: int | None = None, **payload: Any) -> Record:
    subject: dict[str, Any] = {"step": step} | ({"attempt": attempt} if attempt else {})
    return Record(type_, subject, payload)


def _cost(event: StepEnded) -> dict[str, int]:
    return {
        "cost_micro_usd": event.cost_micro_usd,
        "input_tokens": event.input_tokens,
        "output_tokens": event.output_tokens,
    }
