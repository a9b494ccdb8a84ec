"""What a step message makes happen: the step is run, ends exactly once, and whoever waits is told."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Protocol

from aos.kernel.errors import NotFound, Unavailable
from aos.kernel.governance.audit.records import FactType
from aos.kernel.governance.effects import EffectState
from aos.kernel.messaging.step_message import StepMessage
from aos.services.audit.facts import Facts
from aos.services.definitions.definitions import Definitions
from aos.services.effects.effects import Effects
from aos.services.environment.clock import Clock
from aos.services.observability.tracing import fail_current
from aos.services.runs.doorbells import Orchestrations
from aos.services.runs.runs import Runs
from aos.services.steps.agent_loop import AgentLoop
from aos.services.steps.questions import Place
from aos.services.steps.rows import Prepared, StepResult, StepRows
from aos.services.steps.tool_calls import Call, CallEnd, ToolCalls

_LOG = logging.getLogger(__name__)
PUT_OFF_S = 5.0


class StepQueue(Protocol):
    """Where step messages go."""

    async def send(self, message: StepMessage, *, at: float | None = None) -> None:
        """Send a message, now or at a later time (unix seconds)."""
        ...


class StepWorker:
    """Runs steps, each at most once at a time and to exactly one result."""

    def __init__(
        self,
        *,
        definitions: Definitions,
        runs: Runs,
        rows: StepRows,
        effects: Effects,
        facts: Facts,
        loop: AgentLoop,
        calls: ToolCalls,
        queue: StepQueue,
        orchestrations: Orchestrations,
        clock: Clock,
    ) -> None:
        self._definitions = definitions
        self._runs = runs
        self._rows = rows
        self._effects = effects
        self._facts = facts
        self._loop = loop
        self._calls = calls
        self._queue = queue
        self._orchestrations = orchestrations
        self._clock = clock

    async def handle(self, message: StepMessage) -> None:
        """Run the step and write its result; a step that has one is only announced again.

        While storage does not answer the message is put off: its deliveries are for workers that die.

        Raises:
            Unavailable: no result could be written, and the queue does not answer either.
        """
        try:
            if message.conclude is not None:
                await self._give_up(message, message.conclude)
            else:
                await self._work(message)
        except Unavailable as error:
            await self._put_off(message, error)

    async def _put_off(self, message: StepMessage, error: Unavailable) -> None:
        _LOG.warning("step %s of run %s is put off: %s", message.label, message.run, error.message)
        await self._queue.send(message.again(), at=self._clock() + PUT_OFF_S)

    async def _work(self, message: StepMessage) -> None:
        if await self._rows.result(message.run, message.label, message.attempt) is None:
            closing = await self._rows.closing(message.run, message.label, message.attempt)
            end = await (self._charged(message, closing) if closing else self._run(message))
            if isinstance(end, StepResult) and end.result == "failed":
                end = await self._weighed(message, end)
            if isinstance(end, CallEnd):
                await self._queue.send(message.again(), at=end.at)
                return
            if end.result != "completed":
                fail_current(end.result)
            await self._rows.write_result(message.run, message.label, message.attempt, end)
        await self._ring(message)

    async def give_up(self, message: StepMessage, reason: str) -> None:
        """End a step whose message could not be worked on: it failed for good."""
        try:
            await self._give_up(message, reason)
        except Unavailable as error:
            await self._put_off(message.concluding(reason), error)

    async def _give_up(self, message: StepMessage, reason: str) -> None:
        at = await self.conclude(message, reason, retryable=False)
        if at is None:
            await self._ring(message)
        else:
            await self._queue.send(message.again(conclude=reason), at=at)

    async def conclude(self, message: StepMessage, reason: str, *, retryable: bool) -> float | None:
        """Write that the step failed, unless it has a result.

        An effect of it whose outcome nobody knows parks it instead. While an attempt may still be
        acting nothing is written, and the time at which to come back is returned.
        """
        if await self._rows.result(message.run, message.label, message.attempt) is None:
            failed = StepResult("failed", reason=reason, retryable=retryable)
            await self._rows.close(message.run, message.label, message.attempt, failed)
            end = await self._closed(message, await self._charged(message, failed))
            if isinstance(end, CallEnd):
                return end.at
            await self._rows.write_result(message.run, message.label, message.attempt, end)
        return None

    async def _charged(self, message: StepMessage, failed: StepResult) -> StepResult:
        """Return the failure with what the attempt's model replies cost, as far as they were journalled."""
        prepared = await self._rows.prepared(message.run, message.label, message.attempt)
        if prepared is None or prepared.kind != "agent":
            return failed
        journal = await self._rows.journal(message.run, message.label, prepared.conversation)
        turns = [turn for turn in journal if turn.attempt == message.attempt]
        return replace(
            failed,
            cost_micro_usd=sum(turn.cost_micro_usd for turn in turns),
            input_tokens=sum(turn.reply.usage.input_tokens for turn in turns),
            output_tokens=sum(turn.reply.usage.output_tokens for turn in turns),
        )

    async def _weighed(self, message: StepMessage, failed: StepResult) -> StepResult | CallEnd:
        """Say of a failure whether it leaves an effect in doubt; one that no attempt follows is closed."""
        await self._rows.close(message.run, message.label, message.attempt, failed)
        effects = await self._effects.of_step(message.run, message.label)
        claimed = any(record.state is EffectState.CLAIMED for _, record in effects)
        if claimed and failed.retryable and not message.final:
            return replace(failed, in_doubt=True)
        return await self._closed(message, failed)

    async def _closed(self, message: StepMessage, failed: StepResult) -> StepResult | CallEnd:
        """Leave no effect of the step open: one whose outcome nobody knows parks it."""
        known = [
            (key, await self._effects.abandon(key))
            for key, _ in await self._effects.of_step(message.run, message.label)
        ]
        acting = [record.lease_until for _, record in known if record.state is EffectState.CLAIMED]
        if acting:
            return CallEnd("later", at=max(acting), reason="an attempt may still be acting")
        unknown = [key.id for key, record in known if record.state is EffectState.UNKNOWN]
        happened = any(record.outcome and record.outcome.ok for _, record in known)
        if not unknown:
            done = await self._done(message) if happened else None
            return done or replace(failed, effects=failed.effects or happened)
        reason = f"{failed.reason}; the outcome of effect {', '.join(unknown)} is unknown"
        facts = [await self._unknown(message, effect, str(failed.reason)) for effect in unknown]
        return replace(failed, result="parked", reason=reason, retryable=False, facts=(*failed.facts, *facts))

    async def _done(self, message: StepMessage) -> StepResult | None:
        """Return the result of a tool step whose call is known to have happened: it is no failure."""
        prepared = await self._rows.prepared(message.run, message.label, message.attempt)
        if prepared is None or prepared.kind != "tool":
            return None
        end = await self._calls.known(_call(message, prepared, await self._place(message)))
        return None if end is None else _result(end)

    async def _unknown(self, message: StepMessage, effect: str, reason: str) -> str:
        return await self._facts.write(
            message.run,
            f"{message.label}.{message.attempt}.{effect}.unknown",
            FactType.EFFECT_UNKNOWN,
            actor="aos",
            subject={"step": message.label, "effect": effect},
            payload={"note": reason},
        )

    async def _run(self, message: StepMessage) -> StepResult | CallEnd:
        prepared = await self._rows.prepared(message.run, message.label, message.attempt)
        if prepared is None:
            return StepResult("failed", reason="the step was never prepared")
        if self._clock() >= message.deadline:
            return StepResult("failed", reason="the step's time was over before it began", retryable=True)
        place = await self._place(message)
        if prepared.kind == "agent":
            try:
                return await self._loop.run(message, prepared, place)
            except NotFound as error:  # the application was deployed again without it
                return await self._charged(message, StepResult("failed", reason=error.message))
        end = await self._calls.make(_call(message, prepared, place))
        return end if end.kind == "later" else _result(end)

    async def _place(self, message: StepMessage) -> Place:
        run = await self._runs.get(message.run)
        workflow = await self._definitions.snapshot(run.workflow, run.definition)
        return Place(run.tenant, run.id, message.label, workflow, run.cost_micro_usd)

    async def _ring(self, message: StepMessage) -> None:
        await self._orchestrations.raise_event(message.orchestration, "result", {"attempt": message.attempt})


def _call(message: StepMessage, prepared: Prepared, place: Place) -> Call:
    return Call(message, place, prepared.name, prepared.arguments, None, prepared.approvers)


def _result(end: CallEnd) -> StepResult:
    """Return the result of a tool step whose call ended so."""
    match end.kind:
        case "ok":
            return StepResult("completed", output=end.value, effects=end.effect, facts=end.facts)
        case "parked":
            return StepResult("parked", reason=end.reason, facts=end.facts)
        case _:
            return StepResult("failed", reason=end.reason, retryable=end.retryable, facts=end.facts)
