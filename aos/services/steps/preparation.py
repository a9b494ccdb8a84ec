"""Preparing a step: its condition, its inputs, and whether policy lets it go ahead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from aos.kernel.canonical import digest
from aos.kernel.errors import InvalidExpression, InvalidInput, NotFound
from aos.kernel.governance.approval import Action
from aos.kernel.governance.audit.records import FactType
from aos.kernel.governance.policy import PolicyDecision, PolicyEngine, Verdict
from aos.kernel.messaging.step_message import step_label
from aos.kernel.reasons import short
from aos.kernel.scheduling.budget import micro_usd
from aos.kernel.workflows import expressions
from aos.kernel.workflows.definition import (
    AgentStep,
    ApprovalStep,
    DelayStep,
    Step,
    ToolStep,
    WorkflowDefinition,
)
from aos.kernel.workflows.engine import IMPLICIT_APPROVAL_S
from aos.sdk import Application
from aos.services.audit.facts import Facts
from aos.services.definitions.definitions import Definitions
from aos.services.effects.effects import Effects
from aos.services.environment.clock import timestamp
from aos.services.runs.approvals import Approvals, Asked
from aos.services.runs.run import Run
from aos.services.runs.runs import Runs
from aos.services.runs.values import Values
from aos.services.steps.questions import Place, may_ask, may_call, tool_action
from aos.services.steps.rows import Prepared, StepRows

MAX_DELAY_S = 31_536_000.0
"""A year, as for a delay that the definition itself gives: timers end with the calendar."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the run is: each step's state, and the attempt that completed it."""

    states: Mapping[str, str]
    attempts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Preparation:
    """What came of it: ready, skipped, failed or needs_approval. Money is in micro-dollars."""

    result: str
    reason: str | None = None
    agent: str | None = None
    agent_definition: str | None = None
    """The digest of the agent's definition."""
    reserve_micro_usd: int = 0
    seconds: float = 0.0
    facts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


class Preparer:
    """Prepares steps from rows; all of it can be done again without harm."""

    def __init__(
        self,
        *,
        application: Application,
        definitions: Definitions,
        runs: Runs,
        values: Values,
        rows: StepRows,
        approvals: Approvals,
        effects: Effects,
        facts: Facts,
        policy: PolicyEngine,
    ) -> None:
        self._application = application
        self._definitions = definitions
        self._runs = runs
        self._values = values
        self._rows = rows
        self._approvals = approvals
        self._effects = effects
        self._facts = facts
        self._policy = policy

    async def prepare(
        self, run_id: str, step_id: str, attempt: int, progress: Progress, *, compensation: bool = False
    ) -> Preparation:
        """Prepare one attempt of a step or of its compensation."""
        run = await self._runs.get(run_id)
        workflow = await self._definitions.snapshot(run.workflow, run.definition)
        step = workflow.step(step_id)
        work = _Work(run, workflow, step_label(step_id, compensation=compensation), attempt)
        resolved = await self._resolved(work)
        preparation = await self._prepared(work, step, progress, compensation=compensation)
        return replace(preparation, reason=short(preparation.reason), facts=(*resolved, *preparation.facts))

    async def _prepared(
        self, work: _Work, step: Step, progress: Progress, *, compensation: bool
    ) -> Preparation:
        try:
            variables = await self._variables(work.run, progress)
            if compensation:
                assert isinstance(step, AgentStep | ToolStep)
                assert step.compensate is not None
                arguments = expressions.render(step.compensate.with_, variables)
                return await self._tool(work, step.compensate.tool, arguments)
            if step.when is not None and not expressions.evaluate_condition(step.when, variables):
                return Preparation("skipped")
            return await self._forward(work, step, variables)
        except (InvalidExpression, InvalidInput, NotFound) as error:
            return Preparation("failed", reason=error.message)

    async def _resolved(self, work: _Work) -> list[str]:
        """Record what operators said of effects that an earlier attempt left unknown."""
        if work.attempt == 1:
            return []
        facts = []
        for key, record in await self._effects.of_step(work.run.id, work.label):
            if record.resolution is None:
                continue
            said = record.resolution
            fact = await self._facts.write(
                work.run.id,
                f"{work.label}.{key.id}.resolved.{record.epoch}",
                FactType.EFFECT_RESOLVED,
                actor=said.actor,
                subject={"step": work.label, "effect": key.id},
                payload={"happened": said.happened, "reason": said.reason, "resolved_at": timestamp(said.at)},
            )
            facts.append(fact)
        return facts

    async def evaluate_output(self, run_id: str, progress: Progress) -> Any:
        """Return the run's output; ``InvalidExpression`` if it cannot be evaluated."""
        run = await self._runs.get(run_id)
        workflow = await self._definitions.snapshot(run.workflow, run.definition)
        return expressions.render(workflow.output, await self._variables(run, progress))

    async def _variables(self, run: Run, progress: Progress) -> dict[str, Any]:
        steps: dict[str, Any] = {
            step: {"state": state, "output": await self._output(run.id, step, progress)}
            for step, state in progress.states.items()
        }
        return {
            "input": await self._values.load(run.id, dict(run.input)),
            "steps": steps,
            "run": {"id": run.id, "tenant": run.tenant, "workflow": run.workflow},
        }

    async def _output(self, run: str, step: str, progress: Progress) -> Any:
        if progress.states[step] != "completed":
            return None
        if attempt := progress.attempts.get(step):
            result = await self._rows.result(run, step, attempt)
            return result.output if result else None
        try:
            approval = (await self._approvals.get(run, step)).approval
        except NotFound:
            return None  # a delay
        return {"approved_by": approval.actor, "reason": approval.reason, "action_hash": approval.action_hash}

    async def _forward(self, work: _Work, step: Step, variables: Mapping[str, Any]) -> Preparation:
        match step:
            case ToolStep():
                return await self._tool(work, step.tool, expressions.render(step.with_, variables))
            case AgentStep():
                return await self._agent(work, step, variables)
            case ApprovalStep():
                return await self._approval(work, step, variables)
            case DelayStep():
                seconds = expressions.render(step.seconds, variables)
                number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
                if not number or not 0 <= seconds <= MAX_DELAY_S:
                    reason = f"seconds is {seconds!r}, not a number from 0 to {MAX_DELAY_S:g}"
                    return Preparation("failed", reason=reason)
                return Preparation("ready", seconds=float(seconds))

    async def _tool(self, work: _Work, name: str, arguments: Mapping[str, Any]) -> Preparation:
        tool = self._application.tool(name)
        tool.check(arguments)
        action = tool_action(name, arguments)
        approvers = await self._approvals.approvers(work.run.id, action)
        decision = self._policy.decide(
            may_call(tool.definition, arguments, work.place, agent=None, approvers=approvers)
        )
        fact = await self._record(work, decision, {"tool": name, "arguments": dict(arguments)})
        if decision.verdict is Verdict.REQUIRES_APPROVAL:
            return await self._ask(work, action, decision, fact)
        if not decision.allowed:
            return Preparation("failed", reason=_denial(decision, f"tool {name}"), facts=(fact,))
        prepared = Prepared("tool", name, dict(arguments), approvers=approvers)
        await self._rows.write_prepared(work.run.id, work.label, work.attempt, prepared)
        return Preparation("ready", facts=(fact,))

    async def _ask(self, work: _Work, action: Action, decision: PolicyDecision, fact: str) -> Preparation:
        """Have the action approved: the step itself waits, and is prepared again afterwards."""
        if "~" in work.label:
            return Preparation("failed", reason=_denial(decision, "the compensation"), facts=(fact,))
        asked = await self._approvals.ask(
            work.run.id,
            work.label,
            action,
            role=decision.roles[0],
            prompt=f"Policy {', '.join(decision.policies)} asks for approval of {action.name}.",
            timeout_s=IMPLICIT_APPROVAL_S,
        )
        requested = await self._requested(work, asked)
        return Preparation("needs_approval", reason=_denial(decision, action.name), facts=(fact, requested))

    async def _agent(self, work: _Work, step: AgentStep, variables: Mapping[str, Any]) -> Preparation:
        agent = self._application.agent(step.agent).definition
        decision = self._policy.decide(may_ask(agent, work.place))
        task = expressions.render(step.task, variables)
        arguments = expressions.render(step.with_, variables)
        fact = await self._record(work, decision, {"agent": agent.name, "task": task, "arguments": arguments})
        if not decision.allowed:
            return Preparation("failed", reason=_denial(decision, f"agent {agent.name}"), facts=(fact,))
        reserve = micro_usd(agent.reserve_usd)
        prepared = Prepared(
            "agent",
            agent.name,
            arguments,
            str(task),
            await self._conversation(work),
            reserve_micro_usd=reserve,
        )
        await self._rows.write_prepared(work.run.id, work.label, work.attempt, prepared)
        return Preparation(
            "ready",
            agent=agent.name,
            agent_definition=digest(asdict(agent)),
            reserve_micro_usd=reserve,
            facts=(fact,),
        )

    async def _conversation(self, work: _Work) -> int:
        """Go on with the conversation in which an effect was claimed; without one, begin anew."""
        if work.attempt == 1 or not await self._effects.of_step(work.run.id, work.label):
            return work.attempt
        for attempt in range(work.attempt - 1, 0, -1):  # those that policy refused were not prepared
            if before := await self._rows.prepared(work.run.id, work.label, attempt):
                return before.conversation
        return work.attempt

    async def _approval(self, work: _Work, step: ApprovalStep, variables: Mapping[str, Any]) -> Preparation:
        action = Action("decision", step.id, expressions.render(step.with_, variables))
        if step.of is not None:
            target = work.workflow.step(step.of)
            assert isinstance(target, ToolStep)
            arguments = expressions.render(target.with_, variables)
            self._application.tool(target.tool).check(arguments)
            action = tool_action(target.tool, arguments)
        prompt = str(expressions.render(step.prompt, variables))
        asked = await self._approvals.ask(
            work.run.id, step.id, action, role=step.role, prompt=prompt, timeout_s=step.timeout_s
        )
        return Preparation("ready", facts=(await self._requested(work, asked),))

    async def _requested(self, work: _Work, asked: Asked) -> str:
        said = asked.to_json()
        return await self._facts.write(
            work.run.id,
            asked.fact("requested"),
            FactType.APPROVAL_REQUESTED,
            actor="aos",
            subject={"step": work.label},
            payload={"action": said["action"], "prompt": said["prompt"], "approval": said["approval"]},
        )

    async def _record(self, work: _Work, decision: PolicyDecision, payload: dict[str, Any]) -> str:
        return await self._facts.write(
            work.run.id,
            f"{work.label}.{work.attempt}.prepared",
            FactType.STEP_PREPARED,
            actor="aos",
            subject={"step": work.label, "attempt": work.attempt},
            payload=payload | {"decision": decision.to_json()},
        )


@dataclass(frozen=True, slots=True)
class _Work:
    """One attempt of one step, with all that it belongs to."""

    run: Run
    workflow: WorkflowDefinition
    label: str
    attempt: int

    @property
    def place(self) -> Place:
        return Place(self.run.tenant, self.run.id, self.label, self.workflow, self.run.cost_micro_usd)


def _denial(decision: PolicyDecision, what: str) -> str:
    by = f" by policy {', '.join(decision.policies)}" if decision.policies else ": no policy permits it"
    because = f" ({'; '.join(decision.errors)})" if decision.errors else ""
    if decision.verdict is Verdict.REQUIRES_APPROVAL:
        return f"{what} must be approved by {', '.join(decision.roles)}, asked{by}"
    return f"{what} is denied{by}{because}"
