"""An agent's work on one step: its model is asked turn by turn, and each reply is journalled first.

So a worker that dies loses at most the reply that it waited for. Whoever takes the message next
reads the journal, makes the same calls again under the same effect ids, and asks for the next turn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jsonschema

from aos.kernel.agents.definition import AgentDefinition, Schema
from aos.kernel.canonical import Json
from aos.kernel.governance.audit.records import FactType
from aos.kernel.governance.policy import PolicyEngine
from aos.kernel.messaging.step_message import StepMessage
from aos.kernel.scheduling.budget import micro_usd, usd
from aos.sdk import Application
from aos.services.audit.facts import Facts
from aos.services.environment.clock import Clock
from aos.services.inference.messages import Message, ModelReply, Role, ToolCall
from aos.services.inference.ports import ModelClient, ModelRejected, ModelTruncated, ModelUnavailable
from aos.services.inference.prices import PriceTable
from aos.services.observability.metrics import AGENT_ERRORS, DECISION_LATENCY, DECISIONS
from aos.services.observability.tracing import Attributes, fail, span
from aos.services.runs.runs import Runs
from aos.services.steps.questions import Place, may_infer
from aos.services.steps.rows import Prepared, StepResult, StepRows, Turn
from aos.services.steps.tool_calls import Call, CallEnd, ToolCalls

MAX_CORRECTIONS = 2
"""How often a model is told that its answer does not fit before its step fails."""
MAX_CALLS_A_TURN = 32


@dataclass(slots=True)
class _Conversation:
    """What was said so far, and what it took."""

    message: StepMessage
    place: Place
    agent: AgentDefinition
    prepared: Prepared
    journal: list[Turn]
    said: list[Message]
    facts: list[str] = field(default_factory=list)
    turn: int = 0
    corrections: int = 0
    effects: bool = False
    cost_micro_usd: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def took(self, turn: Turn) -> None:
        """Count a turn, if it was this attempt that paid for it."""
        if turn.attempt == self.message.attempt:
            self.cost_micro_usd += turn.cost_micro_usd
            self.input_tokens += turn.reply.usage.input_tokens
            self.output_tokens += turn.reply.usage.output_tokens

    def end(
        self, result: str, *, output: Any = None, reason: str | None = None, retryable: bool = False
    ) -> StepResult:
        """Return how the step ended, with what it took."""
        return StepResult(
            result=result,
            output=output,
            reason=reason,
            retryable=retryable,
            effects=self.effects,
            cost_micro_usd=self.cost_micro_usd,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            facts=tuple(self.facts),
        )


class AgentLoop:
    """Runs agent steps."""

    def __init__(
        self,
        *,
        application: Application,
        model: ModelClient,
        prices: PriceTable,
        rows: StepRows,
        runs: Runs,
        calls: ToolCalls,
        facts: Facts,
        policy: PolicyEngine,
        clock: Clock,
    ) -> None:
        self._application = application
        self._model = model
        self._prices = prices
        self._rows = rows
        self._runs = runs
        self._calls = calls
        self._facts = facts
        self._policy = policy
        self._clock = clock

    async def run(self, message: StepMessage, prepared: Prepared, place: Place) -> StepResult | CallEnd:
        """Work until the agent has answered; ``CallEnd`` of kind ``later`` says when to come back."""
        attributes: Attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": prepared.name,
            "gen_ai.conversation.id": message.run,
            "aos.run": message.run,
            "aos.step": message.label,
            "aos.attempt": message.attempt,
        }
        started = self._clock()
        with span(f"invoke_agent {prepared.name}", attributes) as current:
            end = await self._run(message, prepared, place)
            if isinstance(end, StepResult):
                _count(prepared.name, end, self._clock() - started)
                if end.result == "failed":
                    fail(current, "failed")
            return end

    async def _run(self, message: StepMessage, prepared: Prepared, place: Place) -> StepResult | CallEnd:
        agent = self._application.agent(prepared.name).definition
        journal = await self._rows.journal(message.run, message.label, prepared.conversation)
        talk = _Conversation(message, place, agent, prepared, journal, _opening(agent, prepared))
        while talk.turn < agent.max_turns:
            turn = await self._next(talk)
            if isinstance(turn, StepResult):
                return turn
            end = await self._take(talk, turn.reply)
            if end is not None:
                return end
            talk.turn += 1
        return talk.end("failed", reason=f"agent {agent.name} gave no answer in {agent.max_turns} turns")

    async def _next(self, talk: _Conversation) -> Turn | StepResult:
        if talk.turn < len(talk.journal):
            turn = talk.journal[talk.turn]
        else:
            asked = await self._ask(talk)
            if isinstance(asked, StepResult):
                return asked
            turn = asked
        talk.took(turn)
        talk.facts.append(await self._replied(talk, turn))
        return turn

    async def _ask(self, talk: _Conversation) -> Turn | StepResult:
        """Ask the model for its next reply and journal it, unless something forbids it."""
        agent = talk.agent
        tools = [self._application.tool(name).definition for name in agent.tools]
        model = self._model.model_for(agent.model)
        refusal = await self._refusal(talk, model)
        if refusal is None:
            tokens = self._model.count_tokens(talk.said, tools, agent.output)
            worst = micro_usd(self._prices.worst_case(model, tokens, agent.max_output_tokens))
            left = talk.prepared.reserve_micro_usd - talk.cost_micro_usd
            if worst > left:
                refusal = (
                    f"the next call may cost {usd(worst)} USD; {usd(left)} of the step's reservation is left"
                )
        if refusal is not None:
            return talk.end("failed", reason=refusal)
        try:
            reply = await self._model.complete(
                talk.said,
                tools,
                model=agent.model,
                output_schema=agent.output,
                max_output_tokens=agent.max_output_tokens,
                timeout_s=max(0.1, talk.message.deadline - self._clock()),
            )
        except ModelUnavailable as error:
            return talk.end("failed", reason=error.message, retryable=True)
        except ModelRejected as error:
            return talk.end("failed", reason=error.message)
        except ModelTruncated as error:
            reply = error.reply
        cost = micro_usd(self._prices.cost(model, reply.usage))
        return await self._rows.write_turn(
            talk.message.run,
            talk.message.label,
            talk.prepared.conversation,
            talk.turn,
            Turn(talk.message.attempt, reply, cost),
        )

    async def _refusal(self, talk: _Conversation, model: str) -> str | None:
        if (await self._runs.get(talk.message.run)).cancel is not None:
            return "the run was cancelled"
        if self._clock() >= talk.message.deadline:
            return "the step's time is over"
        decision = self._policy.decide(may_infer(talk.agent, model, talk.place))
        if decision.allowed:
            return None
        subject: dict[str, str | int] = {"step": talk.message.label, "attempt": talk.message.attempt}
        fact_id = f"{talk.message.label}.{talk.message.attempt}.{talk.turn}.model.denied"
        fact = await self._facts.write(
            talk.message.run,
            fact_id,
            FactType.POLICY_DECIDED,
            actor=f"agent:{talk.agent.name}",
            subject=subject,
            payload={"model": model, "decision": decision.to_json()},
        )
        talk.facts.append(fact)
        return f"policy {', '.join(decision.policies) or '(none permits it)'} denies model {model}"

    async def _take(self, talk: _Conversation, reply: ModelReply) -> StepResult | CallEnd | None:
        """Do what the reply asks for; None to ask for the next one."""
        if reply.finish_reason == "length":
            return talk.end(
                "failed", reason=f"the reply was cut off at {talk.agent.max_output_tokens} tokens"
            )
        talk.said.append(reply.message())
        if not reply.tool_calls:
            return self._answered(talk, reply.text)
        for index, call in enumerate(reply.tool_calls):
            end = await self._call(talk, call, index)
            talk.facts.extend(end.facts)
            talk.effects = talk.effects or end.effect
            if end.kind == "later":
                return end
            if end.kind == "parked":
                return talk.end("parked", reason=end.reason)
            if end.kind == "failed" and self._application.tool(call.name).definition.effect != "none":
                return talk.end("failed", reason=end.reason, retryable=end.retryable)
            talk.said.append(Message(Role.TOOL, _told(end), tool_call_id=call.id))
        return None

    async def _call(self, talk: _Conversation, call: ToolCall, index: int) -> CallEnd:
        if call.arguments_error is not None:
            return CallEnd("refused", reason=call.arguments_error)
        if index >= MAX_CALLS_A_TURN:
            return CallEnd("refused", reason=f"more than {MAX_CALLS_A_TURN} calls in one reply")
        if call.name not in talk.agent.tools:
            return CallEnd("refused", reason=f"there is no tool {call.name!r}; there is {talk.agent.tools}")
        made = Call(
            talk.message,
            talk.place,
            call.name,
            call.arguments,
            talk.agent,
            talk.prepared.approvers,
            turn=talk.turn,
            index=index,
        )
        return await self._calls.make(made)

    def _answered(self, talk: _Conversation, text: str) -> StepResult | None:
        schema = talk.agent.output
        if schema is None:
            return talk.end("completed", output={"text": text})
        output, problem = _fitting(text, schema)
        if problem is None:
            return talk.end("completed", output=output)
        talk.corrections += 1
        if talk.corrections > MAX_CORRECTIONS:
            reason = f"agent {talk.agent.name} gave no valid answer: {problem}"
            return talk.end("failed", reason=reason, retryable=True)
        talk.said.append(
            Message(Role.USER, f"Your answer is not valid: {problem}. Answer again, with JSON alone.")
        )
        return None

    async def _replied(self, talk: _Conversation, turn: Turn) -> str:
        reply = turn.reply
        payload: dict[str, Json] = {"reply": reply.to_json(), "cost_micro_usd": turn.cost_micro_usd}
        return await self._facts.write(
            talk.message.run,
            f"{talk.message.label}.c{talk.prepared.conversation}.{talk.turn}.model",
            FactType.MODEL_REPLIED,
            actor=f"agent:{talk.agent.name}",
            subject={
                "step": talk.message.label,
                "turn": talk.turn,
                "model": reply.model,
                "provider": reply.provider,
            },
            payload=payload,
        )


def _count(agent: str, end: StepResult, took_s: float) -> None:
    DECISIONS.add(1, {"agent": agent, "result": end.result})
    DECISION_LATENCY.record(took_s, {"agent": agent})
    if end.result == "failed":
        AGENT_ERRORS.add(1, {"agent": agent})


def _opening(agent: AgentDefinition, prepared: Prepared) -> list[Message]:
    inputs = json.dumps(prepared.arguments, ensure_ascii=False, indent=2, sort_keys=True)
    task = f"{prepared.task}\n\n```json\n{inputs}\n```" if prepared.arguments else prepared.task
    return [Message(Role.SYSTEM, agent.instructions), Message(Role.USER, task)]


def _told(end: CallEnd) -> str:
    """Return what the model is told of a call's end."""
    if end.kind == "ok":
        return json.dumps(end.value, ensure_ascii=False)
    return json.dumps({"error": end.reason}, ensure_ascii=False)


def _fitting(text: str, schema: Schema) -> tuple[Mapping[str, Any] | None, str | None]:
    """Return the answer that the text holds, or why there is none."""
    try:
        value = json.loads(text.strip().removeprefix("```json").removesuffix("```"))
    except ValueError as error:
        return None, f"it is not JSON: {error}"
    first = next(iter(jsonschema.Draft202012Validator(schema).iter_errors(value)), None)
    if first is None:
        return value, None
    where = "/".join(map(str, first.absolute_path))
    return None, f"at {where or 'the top'}: {first.message[:300]}"
