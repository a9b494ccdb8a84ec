"""The orchestration of a run: it feeds the run reducer, and carries out what the reducer commands.

Each task that completes is one event. Facts for the log are put into it by one ``append_facts`` at a
time, beside whatever else goes on, so that the log grows while the run does. After many turns the
run moves to a fresh history, when nothing but waits is pending.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import UTC, datetime
from typing import Any

from durabletask.task import OrchestrationContext, Task, when_any

from aos.functions.outcomes import ENDURING, PATIENT, Json, rows, said
from aos.kernel.messaging.step_message import step_orchestration
from aos.kernel.workflows.engine import advance, drain
from aos.kernel.workflows.plan import plan_from_json, plan_to_json
from aos.kernel.workflows.state import (
    ENDED,
    ApprovalRead,
    CancelRead,
    Command,
    End,
    EvaluateOutput,
    Event,
    OutputEvaluated,
    Prepare,
    Prepared,
    Rang,
    ReadCancel,
    Record,
    Resumed,
    RunStep,
    SettleApproval,
    Started,
    StartTimer,
    StepEnded,
    TimerFired,
    new_state,
    state_from_json,
)
from aos.services.environment.clock import timestamp

MAX_TURNS = 150
"""After so many events a run moves to a fresh history: replaying one costs its length, squared."""

_MAY_FAIL = frozenset({"prepare_step", "evaluate_output"})
"""Activities whose failure is an event of the run."""

type Answer = Callable[[Task[Any]], Event | None]


class WorkflowShell:
    """A run between two of its histories."""

    def __init__(self, context: OrchestrationContext, start: Json) -> None:
        self._context = context
        self._run: str = start["run"]
        self._carried: Json | None = start.get("carried")
        self._pending: dict[Task[Any], Answer] = {}
        self._waits: set[Task[Any]] = set()
        self._unlogged: list[Json] = []
        self._noted: set[str] = set()
        self._appending: Task[Any] | None = None
        self._end: End | None = None
        self._turns = 0

    def run(self) -> Generator[Task[Any], Any, Json]:
        """Take the run to its end, or to its next history."""
        if self._carried is None:
            begun: Json = yield self._activity("begin_run", {"run": self._run})
            if begun["ended"]:
                return {"status": "ended before"}
            self._restore(begun | {"log_size": 0, "said": 0, "noted": []})
            self._note(rows(begun["facts"]))
            self._state = new_state(self._plan)
            first: Event = Started()
        else:
            self._restore(self._carried)
            self._state = state_from_json(self._carried["state"])
            first = Resumed()
        self._feed(first)
        self._listen()
        while self._end is None:
            if self._may_move():
                return self._move()
            self._append()
            done: Task[Any] = yield when_any([*self._pending])
            self._turns += 1
            self._take(done)
        return (yield from self._conclude(self._end))

    def _restore(self, carried: Json) -> None:
        self._plan = plan_from_json(carried["plan"])
        self._tenant: str = carried["tenant"]
        self._budgets: list[Json] = carried["budgets"]
        self._log_size: int = carried["log_size"]
        self._said: int = carried["said"]
        self._noted = set(carried["noted"])

    def _may_move(self) -> bool:
        if self._turns < MAX_TURNS:
            return False
        if not self._state.draining:
            self._state = drain(self._state)
        idle = all(task in self._waits and not task.is_complete for task in self._pending)
        return idle and not self._unlogged

    def _move(self) -> Json:
        carried = {
            "plan": plan_to_json(self._plan),
            "tenant": self._tenant,
            "budgets": self._budgets,
            "log_size": self._log_size,
            "said": self._said,
            "noted": self._may_come_again(),
            "state": self._state.to_json(),
        }
        self._context.continue_as_new({"run": self._run, "carried": carried}, save_events=True)
        return {"status": "continued"}

    def _take(self, done: Task[Any]) -> None:
        answer = self._pending.pop(done)
        self._waits.discard(done)
        event = answer(done)
        if event is not None:
            self._feed(event)

    def _feed(self, event: Event) -> None:
        self._state, commands = advance(self._plan, self._state, event, self._now)
        for command in commands:
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case Record(kind, subject, payload):
                self._say(kind, subject, payload)
            case RunStep():
                self._dispatch(command)
            case Prepare(step):
                work = self._work(step, attempt=1, compensation=False)
                self._await("prepare_step", work, lambda task: self._prepared(step, task))
            case StartTimer(step, at, compensation):
                timer = self._context.create_timer(datetime.fromtimestamp(at, UTC))
                self._pending[timer] = lambda _: TimerFired(step, at, compensation)
                self._waits.add(timer)
            case SettleApproval(step, close):
                asked = {"run": self._run, "step": step, "close": close}
                self._await("settle_approval", asked, lambda task: self._approval(step, task))
            case ReadCancel():
                self._await("read_cancel", {"run": self._run}, self._cancel)
            case EvaluateOutput():
                value = {"run": self._run, "progress": self._progress(list(self._plan))}
                self._await("evaluate_output", value, self._evaluated)
            case End():
                self._end = command

    def _dispatch(self, command: RunStep) -> None:
        planned = self._plan[command.step]
        work = self._work(command.step, command.attempt, compensation=command.compensation) | {
            "final": command.final,
            "timeout_s": planned.timeout_s,
            "tenant": self._tenant,
            "budgets": self._budgets,
            "asked_at": self._now,
        }
        instance = step_orchestration(
            self._run, command.step, command.attempt, compensation=command.compensation
        )
        child: Task[Any] = self._context.call_sub_orchestrator("agent_step", input=work, instance_id=instance)
        self._pending[child] = lambda task: self._step_ended(command, task)

    def _work(self, step: str, attempt: int, *, compensation: bool) -> Json:
        seen = list(self._plan) if compensation else list(self._plan[step].needs)
        return {
            "run": self._run,
            "step": step,
            "attempt": attempt,
            "compensation": compensation,
            "progress": self._progress(seen),
        }

    def _progress(self, steps: list[str]) -> Json:
        known = {step: self._state.steps[step] for step in steps if self._state.steps[step].status in ENDED}
        return {
            "states": {step: state.status.value for step, state in known.items()},
            "attempts": {step: state.attempt for step, state in known.items() if state.attempt},
        }

    def _await(self, activity: str, value: Json, answer: Answer) -> None:
        self._pending[self._activity(activity, value)] = answer

    def _listen(self) -> None:
        bell = self._context.wait_for_external_event("doorbell")
        self._pending[bell] = self._rang
        self._waits.add(bell)

    def _rang(self, task: Task[Any]) -> Event:
        self._listen()
        bell: Json = task.get_result()
        return Rang(str(bell.get("kind")), bell.get("step"))

    def _prepared(self, step: str, task: Task[Any]) -> Event:
        if task.is_failed:
            return Prepared(step, "failed", reason=str(task.get_exception()))
        result: Json = task.get_result()
        self._note(rows(result["facts"]))
        return Prepared(step, result["result"], result["seconds"], result["reason"])

    def _approval(self, step: str, task: Task[Any]) -> Event:
        result: Json = task.get_result()
        self._note(rows(result["facts"]))
        return ApprovalRead(step, result["status"], result["actor"], result["reason"])

    def _cancel(self, task: Task[Any]) -> Event:
        result: Json = task.get_result()
        self._note(rows(result["facts"]))
        return CancelRead(result["requested"], result["actor"], result["reason"])

    def _evaluated(self, task: Task[Any]) -> Event:
        return OutputEvaluated(str(task.get_exception()) if task.is_failed else task.get_result())

    def _step_ended(self, command: RunStep, task: Task[Any]) -> Event:
        if task.is_failed:
            reason = f"the step's orchestration failed: {task.get_exception()}"
            outcome: Json = {"result": "failed", "reason": reason}
        else:
            outcome = dict(task.get_result())
        self._note(outcome.pop("facts", []))
        return StepEnded(
            step=command.step, attempt=command.attempt, compensation=command.compensation, **outcome
        )

    def _note(self, facts: list[Json]) -> None:
        """Take facts for the log, each once: a doorbell that rings twice has its row read twice, and an
        attempt that goes on with an earlier one's work goes over its facts again."""
        for fact in facts:
            if fact.get("row") not in self._noted:
                self._unlogged.append(fact)
            if "row" in fact:
                self._noted.add(fact["row"])

    def _may_come_again(self) -> list[str]:
        """Return the noted rows that are not of a step whose work and undoing are behind it."""
        labels = {step for step, state in self._state.steps.items() if state.status in ENDED}
        labels |= {f"{step}~undo" for step, undo in self._state.undo.items() if undo.status in ENDED}
        return sorted(row for row in self._noted if row.partition(".")[0] not in labels)

    def _append(self) -> None:
        """Put what is unlogged into the log, unless that is being done."""
        if self._appending is not None or not self._unlogged:
            return
        facts, self._unlogged = self._unlogged, []
        value = {"run": self._run, "expected_size": self._log_size, "facts": facts}
        self._appending = self._activity("append_facts", value)
        self._pending[self._appending] = self._appended

    def _appended(self, task: Task[Any]) -> None:
        self._log_size = task.get_result()
        self._appending = None

    def _conclude(self, end: End) -> Generator[Task[Any], Any, Json]:
        if self._appending is not None:
            yield self._appending
            self._appended(self._appending)
        value: Json = {
            "run": self._run,
            "expected_size": self._log_size,
            "facts": self._unlogged,
            "status": end.outcome.value,
            "reason": end.reason,
            "cost_micro_usd": self._state.cost_micro_usd,
            "input_tokens": self._state.input_tokens,
            "output_tokens": self._state.output_tokens,
        }
        yield self._activity("end_run", value)
        return {"status": end.outcome.value}

    def _say(self, kind: str, subject: Any, payload: Any) -> None:
        self._said += 1
        self._unlogged.append(said(f"run.{self._said}", kind, timestamp(self._now), subject, payload))

    def _activity(self, name: str, value: Json) -> Task[Any]:
        patience = PATIENT if name in _MAY_FAIL else ENDURING
        return self._context.call_activity(name, input=value, retry_policy=patience)

    @property
    def _now(self) -> float:
        return self._context.current_utc_datetime.replace(tzinfo=UTC).timestamp()
