"""The orchestration of one attempt of a step: prepare, reserve, send, wait, settle."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

from durabletask.entities import EntityInstanceId
from durabletask.task import OrchestrationContext, Task, TaskFailedError, when_any

from aos.functions.entity_ids import agent_entity, budget_entity
from aos.functions.outcomes import ENDURING, PATIENT, Json, rows, said
from aos.kernel.messaging.step_message import StepMessage, step_label
from aos.services.environment.clock import timestamp

FIRST_POLL_S = 5.0
MAX_POLL_S = 300.0
PAUSE_S = 1.0
"""Between two tries to end a step: clocks differ, and what is due for one is not yet for another."""

type Steps[T] = Generator[Task[Any], Any, T]


class StepShell:
    """Carries one attempt of a step through. Everything it decides by is in its history."""

    def __init__(self, context: OrchestrationContext, work: Json) -> None:
        self._context = context
        self._work = work
        self._label = step_label(work["step"], compensation=work["compensation"])
        self._facts: list[Json] = []
        self._held: list[str] = []

    def run(self) -> Steps[Json]:
        """Return how the attempt ended."""
        try:
            prepared: Json = yield self._activity("prepare_step", self._work)
        except TaskFailedError as error:
            return (yield from self._not_begun(f"the step could not be prepared: {error}"))
        self._facts += rows(prepared["facts"])
        if prepared["result"] == "failed":
            return (yield from self._not_begun(prepared["reason"]))
        if prepared["result"] != "ready":
            return self._outcome(prepared["result"], reason=prepared["reason"])
        refusal = yield from self._admitted(prepared)
        if refusal is not None:
            self._release()
            return (yield from self._not_begun(refusal))
        try:
            result: Json = yield from self._work_it()
        except TaskFailedError as error:
            result = {"result": "failed", "reason": f"the step could not be run: {error}", "retryable": True}
        self._facts += rows(result.pop("facts", []))
        self._settle(result.get("cost_micro_usd", 0))
        if prepared["agent"]:
            self._finish(prepared["agent"], ok=result["result"] == "completed")
        return self._outcome(**result)

    def _not_begun(self, reason: str) -> Steps[Json]:
        """Fail; a later attempt finds out first what became of the effects that earlier ones left open."""
        if self._work["attempt"] == 1:
            return self._outcome("failed", reason=reason)
        message = self._message(self._now)
        while True:
            close = {"message": message, "reason": reason}
            later: float | None = yield self._activity("close_step", close)
            if later is None:
                break
            yield self._context.create_timer(self._due(later))
        result: Json = yield self._activity("read_result", message)
        self._facts += rows(result.pop("facts"))
        return self._outcome(**result)

    def _admitted(self, prepared: Json) -> Steps[str | None]:
        """Return why budgets or the agent do not take the step, if they do not."""
        try:
            refusal = yield from self._reserve(prepared["reserve_micro_usd"])
            if refusal is None and prepared["agent"]:
                refusal = yield from self._assign(prepared["agent"], prepared["agent_definition"])
        except TaskFailedError as error:
            return f"the step could not be admitted: {error}"
        return refusal

    def _reserve(self, amount: int) -> Steps[str | None]:
        """Reserve the step's ceiling with every budget in turn, up to the first that refuses."""
        if amount == 0:
            return None
        for budget in self._work["budgets"]:
            request = {
                "id": self._reservation,
                "amount": amount,
                "at": self._work["asked_at"],
                "limit": budget["limit"],
            }
            answer: Json = yield self._context.call_entity(budget_entity(budget["key"]), "reserve", request)
            payload = {"budget": budget["key"], "amount_micro_usd": amount}
            if answer["result"] != "reserved":
                available = answer.get("available", 0)
                self._say("budget.refused", payload | {"available_micro_usd": available})
                left, asked = available / 1_000_000, amount / 1_000_000
                return f"budget {budget['key']} has {left:g} USD left, and {asked:g} are asked"
            self._held.append(budget["key"])
            self._say("budget.reserved", payload)
        return None

    def _assign(self, agent: str, definition: str) -> Steps[str | None]:
        request = {"work": self._reservation, "at": self._now.timestamp(), "definition": definition}
        answer: Json = yield self._context.call_entity(self._agent(agent), "assign", request)
        if answer["result"] == "assigned":
            self._say("agent.assigned", {"agent": agent})
            return None
        self._say("agent.refused", {"agent": agent, "state": answer.get("state"), "reason": answer["reason"]})
        return f"agent {agent} takes no work: {answer['reason']}"

    def _work_it(self) -> Steps[Json]:
        deadline = self._now + timedelta(seconds=self._work["timeout_s"])
        message = self._message(deadline)
        yield self._activity("dispatch_step", message)
        self._say("step.dispatched", {"deadline": timestamp(deadline.timestamp())})
        rung = self._context.wait_for_external_event("result")
        wait = FIRST_POLL_S
        until = min(self._now + timedelta(seconds=wait), deadline)
        while True:
            timer = self._context.create_timer(until)
            yield when_any([rung, timer])
            result: Json | None = yield self._activity("read_result", message)
            if result is not None:
                return result
            if rung.is_complete:
                rung = self._context.wait_for_external_event("result")
            wait = min(wait * 2, MAX_POLL_S)
            until = min(self._now + timedelta(seconds=wait), deadline)
            if self._now >= deadline:
                later: float | None = yield self._activity("expire_step", message)
                until = self._due(later) if later else self._now

    def _message(self, deadline: datetime) -> Json:
        return StepMessage(
            run=self._work["run"],
            step=self._work["step"],
            attempt=self._work["attempt"],
            compensation=self._work["compensation"],
            final=self._work["final"],
            deadline=deadline.timestamp(),
        ).to_json()

    def _due(self, at: float) -> datetime:
        return max(datetime.fromtimestamp(at, UTC), self._now + timedelta(seconds=PAUSE_S))

    def _settle(self, cost: int) -> None:
        for key in self._held:
            settled = {"id": self._reservation, "actual": cost}
            self._context.signal_entity(budget_entity(key), "settle", settled)
            self._say("budget.settled", {"budget": key, "amount_micro_usd": cost})

    def _release(self) -> None:
        for key in self._held:
            self._context.signal_entity(budget_entity(key), "release", {"id": self._reservation})
            self._say("budget.released", {"budget": key})

    def _finish(self, agent: str, *, ok: bool) -> None:
        request = {"work": self._reservation, "ok": ok, "at": self._now.timestamp()}
        self._context.signal_entity(self._agent(agent), "finish", request)

    def _outcome(self, result: str, *, reason: str | None = None, **more: Any) -> Json:
        return {"result": result, "reason": reason, "facts": self._facts, **more}

    def _say(self, kind: str, payload: Json) -> None:
        subject = {"step": self._label, "attempt": self._work["attempt"]}
        fact_id = f"{self._label}.{self._work['attempt']}.said.{len(self._facts)}"
        self._facts.append(said(fact_id, kind, timestamp(self._now.timestamp()), subject, payload))

    def _activity(self, name: str, value: Json) -> Task[Any]:
        patience = PATIENT if name == "prepare_step" else ENDURING
        return self._context.call_activity(name, input=value, retry_policy=patience)

    def _agent(self, name: str) -> EntityInstanceId:
        return agent_entity(self._work["tenant"], name)

    @property
    def _reservation(self) -> str:
        return f"{self._work['run']}.{self._label}.{self._work['attempt']}"

    @property
    def _now(self) -> datetime:
        return self._context.current_utc_datetime.replace(tzinfo=UTC)
