"""One call of a tool: allowed by policy, claimed as an effect, made, and settled."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from aos.kernel.agents.definition import AgentDefinition, Effect
from aos.kernel.canonical import Json
from aos.kernel.errors import InvalidInput, NotFound, TooLarge
from aos.kernel.governance.audit.records import FactType
from aos.kernel.governance.effects import (
    Act,
    ArgumentsChanged,
    EffectRecord,
    EffectState,
    Outcome,
    Query,
    Settled,
    Unknown,
    Wait,
    effect_id,
)
from aos.kernel.governance.policy import PolicyDecision, PolicyEngine, Verdict
from aos.kernel.messaging.step_message import StepMessage
from aos.kernel.reasons import excerpt
from aos.sdk import AnyTool, Application, Memory, ToolContext, ToolFailed
from aos.services.audit.facts import Facts
from aos.services.effects.effects import EffectKey, Effects
from aos.services.environment.clock import Clock
from aos.services.observability.tracing import Attributes, fail, span
from aos.services.steps.questions import Place, may_call, tool_action
from aos.services.steps.rows import StepRows

LEASE_MARGIN_S = 5.0
"""How much longer than the tool's deadline a lease lasts: clocks differ, and settling takes time."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """What is to be called, and in which turn of which step."""

    message: StepMessage
    place: Place
    tool: str
    arguments: Mapping[str, Any]
    agent: AgentDefinition | None
    approvers: Mapping[str, str]
    turn: int = 0
    index: int = 0

    @property
    def id(self) -> str:
        """The effect's id, the same in every attempt."""
        return effect_id(self.message.run, self.message.label, self.turn, self.index)

    @property
    def actor(self) -> str:
        """Who calls, as the log names it."""
        return f"agent:{self.agent.name}" if self.agent else "aos"


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How a call ended.

    ``ok``: ``value`` is the result. ``denied``: policy forbids it. ``refused``: the call was wrong, or
    the tool said no, and nothing happened. ``failed``: nobody can say more than ``reason``, and a try
    later may do better. ``parked``: the effect's outcome is unknown. ``later``: come back at ``at``.
    """

    kind: Literal["ok", "denied", "refused", "failed", "parked", "later"]
    value: Json = None
    reason: str | None = None
    retryable: bool = False
    effect: bool = False
    at: float = 0.0
    facts: tuple[str, ...] = ()


class ToolCalls:
    """Calls tools for steps."""

    def __init__(
        self,
        *,
        application: Application,
        rows: StepRows,
        effects: Effects,
        facts: Facts,
        policy: PolicyEngine,
        memory: Memory,
        clock: Clock,
    ) -> None:
        self._application = application
        self._rows = rows
        self._effects = effects
        self._facts = facts
        self._policy = policy
        self._memory = memory
        self._clock = clock

    async def make(self, call: Call) -> CallEnd:
        """Make the call, or take up where an earlier attempt at it was cut off."""
        attributes: Attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.tool,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": call.id,
            "aos.run": call.message.run,
            "aos.step": call.message.label,
        }
        with span(f"execute_tool {call.tool}", attributes) as current:
            end = await self._make(call)
            current.set_attribute("aos.call.end", end.kind)
            if end.kind == "failed":
                fail(current, "failed")
            return end

    async def _make(self, call: Call) -> CallEnd:
        try:
            tool = self._application.tool(call.tool)
            tool.check(call.arguments)
        except (NotFound, InvalidInput) as error:
            return CallEnd("refused", reason=error.message)
        if self._clock() >= call.message.deadline:
            return CallEnd("failed", reason="the step's time is over", retryable=True)
        decision = self._policy.decide(
            may_call(tool.definition, call.arguments, call.place, agent=call.agent, approvers=call.approvers)
        )
        decided = await self._decided(call, decision)
        if not decision.allowed:
            return CallEnd("denied", reason=_denied(call.tool, decision), facts=(decided,))
        if tool.definition.effect is Effect.NONE:
            end = await self._plain(tool, call)
        else:
            end = await self._effect(tool, call, decision)
        return _after_facts((decided,), end)

    async def known(self, call: Call) -> CallEnd | None:
        """Return how the call ended, if its effect is settled, without making it."""
        record = await self._effects.get(EffectKey(call.message.run, call.message.label, call.id))
        if record is None or record.outcome is None:
            return None
        return _after_facts(await self._claims(call, record), await self._settled(call, record.outcome))

    async def _plain(self, tool: AnyTool, call: Call) -> CallEnd:
        """Call a tool that changes nothing: again, whenever there is doubt."""
        try:
            value = await _in_time(tool, tool.call(call.arguments, self._context(tool, call)))
        except ToolFailed as error:
            return CallEnd("refused", reason=excerpt(error.message), retryable=error.retryable)
        except Exception as error:  # noqa: BLE001 - whatever a tool raises is its step's failure
            return CallEnd("failed", reason=_reason(tool, error), retryable=True)
        return CallEnd("ok", value)

    async def _effect(self, tool: AnyTool, call: Call, decision: PolicyDecision) -> CallEnd:
        key = EffectKey(call.message.run, call.message.label, call.id)
        claim = await self._effects.claim(
            key,
            lease_s=_lease_s(tool),
            args_hash=tool_action(call.tool, call.arguments).hash,
            kind=tool.definition.effect,
            decision=decision,
        )
        match claim:
            case Settled(outcome):
                claims = await self._claims(call, await self._effects.get(key))
                return _after_facts(claims, await self._settled(call, outcome))
            case Wait(until):
                return CallEnd("later", at=until, reason=f"another attempt calls {call.tool}")
            case Unknown(record):
                return _after_facts(await self._claims(call, record), await self._unknown(call, record))
            case ArgumentsChanged():
                return CallEnd("refused", reason=f"{call.tool} was claimed with other arguments")
            case Act(record) | Query(record):
                claims = await self._claims(call, record)
                if await self._rows.closing(call.message.run, call.message.label, call.message.attempt):
                    return _after_facts(claims, await self._stood_down(key, record))
                end = await self._act(tool, call, key, record, ask=isinstance(claim, Query))
                return _after_facts(claims, end)

    async def _stood_down(self, key: EffectKey, held: EffectRecord) -> CallEnd:
        """Make no call: the attempt was ended while its worker went on, and whoever ended it did not see
        this claim."""
        if held.epoch == 1:
            await self._effects.give_back(key, held)
        else:
            await self._effects.lapse(key, held)  # an earlier call may have happened
        return CallEnd("failed", reason="the attempt was ended meanwhile", retryable=True)

    async def _act(
        self, tool: AnyTool, call: Call, key: EffectKey, held: EffectRecord, *, ask: bool
    ) -> CallEnd:
        context = self._context(tool, call)
        value = None
        try:
            if ask:
                value = await _in_time(tool, tool.query(context))
        except Exception as error:  # noqa: BLE001 - whatever it raises, nothing is known of the earlier call
            return await self._in_doubt(tool, call, key, held, _reason(tool, error))
        try:
            if value is None:
                value = await _in_time(tool, tool.call(call.arguments, context))
        except ToolFailed as error:
            return await self._did_not_happen(call, key, held, error)
        except Exception as error:  # noqa: BLE001 - whatever a tool raises leaves its outcome in doubt
            return await self._in_doubt(tool, call, key, held, _reason(tool, error))
        kept = await self._kept(call, value)
        record = await self._effects.settle(key, held, Outcome(ok=True, value=kept))
        return await self._after(call, record)

    async def _kept(self, call: Call, value: Json) -> dict[str, Json]:
        """Return what the effect's row holds of a result; of one that no store takes, how large it was."""
        try:
            return await self._rows.values.keep(call.message.run, value)
        except TooLarge as error:
            return {"value": {"error": error.message}}

    async def _did_not_happen(
        self, call: Call, key: EffectKey, held: EffectRecord, error: ToolFailed
    ) -> CallEnd:
        reason = excerpt(error.message)
        if error.retryable and call.agent is None:
            await self._effects.give_back(key, held)
            return CallEnd("failed", reason=reason, retryable=True)
        outcome = Outcome(ok=False, value={"error": reason})
        return await self._after(call, await self._effects.settle(key, held, outcome))

    async def _in_doubt(
        self, tool: AnyTool, call: Call, key: EffectKey, held: EffectRecord, reason: str
    ) -> CallEnd:
        """Leave the effect to a later attempt where one may act safely; otherwise it is unknown."""
        if tool.definition.effect is Effect.ONCE or call.message.final:
            return await self._after(call, await self._effects.mark_unknown(key, held, reason))
        await self._effects.lapse(key, held)
        return CallEnd("failed", reason=reason, retryable=True)

    async def _after(self, call: Call, record: EffectRecord) -> CallEnd:
        """Say what the record that holds now says, whoever wrote it."""
        if record.state is EffectState.SETTLED:
            assert record.outcome is not None
            return await self._settled(call, record.outcome)
        if record.state is EffectState.UNKNOWN:
            return await self._unknown(call, record)
        return CallEnd("later", at=record.lease_until, reason=f"another attempt calls {call.tool}")

    async def _settled(self, call: Call, outcome: Outcome) -> CallEnd:
        value = outcome.value
        if outcome.ok and isinstance(value, dict):  # else only an operator says that it happened
            value = await self._rows.values.load(call.message.run, value)
        payload: dict[str, Json] = {"tool": call.tool, "ok": outcome.ok, "value": value}
        if outcome.operator:
            payload["operator"] = outcome.operator
        fact = await self._fact(call, "settled", FactType.EFFECT_SETTLED, payload)
        if outcome.ok:
            return CallEnd("ok", value, effect=True, facts=(fact,))
        error = outcome.value.get("error") if isinstance(outcome.value, dict) else None
        return CallEnd("refused", reason=str(error or f"{call.tool} failed"), facts=(fact,))

    async def _unknown(self, call: Call, record: EffectRecord) -> CallEnd:
        payload: dict[str, Json] = {"tool": call.tool, "note": record.note}
        fact = await self._fact(call, f"unknown.{record.epoch}", FactType.EFFECT_UNKNOWN, payload)
        reason = f"the outcome of effect {record.id} ({call.tool}) is unknown: {record.note}"
        return CallEnd("parked", reason=reason, facts=(fact,))

    async def _claims(self, call: Call, record: EffectRecord) -> tuple[str, ...]:
        """Return the facts of all claims so far: those of a worker that died came before what follows."""
        earlier = [self._fact_id(call, f"claimed.{epoch}") for epoch in range(1, record.epoch)]
        written = [fact for fact in earlier if await self._facts.read(call.message.run, fact)]
        return (*written, await self._claimed(call, record))

    async def _claimed(self, call: Call, record: EffectRecord) -> str:
        payload: dict[str, Json] = {
            "tool": call.tool,
            "arguments": dict(call.arguments),
            "arguments_hash": record.args_hash,
            "kind": record.kind.value,
        }
        return await self._fact(call, f"claimed.{record.epoch}", FactType.EFFECT_CLAIMED, payload)

    async def _decided(self, call: Call, decision: PolicyDecision) -> str:
        name = "denied" if not decision.allowed else "allowed"
        payload: dict[str, Json] = {"tool": call.tool, "decision": decision.to_json()}
        suffix = f"policy.{name}.{call.message.attempt}"
        return await self._fact(call, suffix, FactType.POLICY_DECIDED, payload)

    async def _fact(self, call: Call, suffix: str, kind: FactType, payload: dict[str, Json]) -> str:
        subject: dict[str, str | int] = {"step": call.message.label, "effect": call.id, "tool": call.tool}
        return await self._facts.write(
            call.message.run,
            self._fact_id(call, suffix),
            kind,
            actor=call.actor,
            subject=subject,
            payload=payload,
        )

    @staticmethod
    def _fact_id(call: Call, suffix: str) -> str:
        return f"{call.message.label}.{call.turn}.{call.index}.{suffix}"

    def _context(self, tool: AnyTool, call: Call) -> ToolContext:
        return ToolContext(
            tenant=call.place.tenant,
            run_id=call.message.run,
            step=call.message.label,
            idempotency_key=call.id,
            deadline=self._clock() + tool.definition.timeout_s,
            memory=self._memory,
        )


async def _in_time(tool: AnyTool, result: Awaitable[Json]) -> Json:
    """Return the result of a tool's code, or raise ``Exception``: nothing of it may end the process."""
    try:
        async with asyncio.timeout(tool.definition.timeout_s):
            return await result
    except (SystemExit, asyncio.CancelledError) as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise  # the worker stops
        raise RuntimeError(f"it raised {type(error).__name__}({error})") from error


def _after_facts(facts: tuple[str, ...], end: CallEnd) -> CallEnd:
    return replace(end, facts=(*facts, *end.facts))


def _lease_s(tool: AnyTool) -> float:
    """Return how long an attempt may act: one call, after one question where the target is asked first."""
    calls = 2 if tool.definition.effect is Effect.QUERYABLE else 1
    return calls * tool.definition.timeout_s + LEASE_MARGIN_S


def _reason(tool: AnyTool, error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"tool {tool.name} did not end within {tool.definition.timeout_s:g} s"
    reason = excerpt(f"tool {tool.name}: {type(error).__name__}: {error}")
    # Not exc_info: an exception of foreign code may say megabytes, or what no UTF-8 can hold.
    _LOG.warning("%s\n%s", reason, "".join(traceback.format_tb(error.__traceback__, limit=20)))
    return reason


def _denied(tool: str, decision: PolicyDecision) -> str:
    what = "must be approved first" if decision.verdict is Verdict.REQUIRES_APPROVAL else "is denied"
    by = f"by policy {', '.join(decision.policies)}" if decision.policies else "as no policy permits it"
    return f"tool {tool} {what} {by}" + (f": {'; '.join(decision.errors)}" if decision.errors else "")
