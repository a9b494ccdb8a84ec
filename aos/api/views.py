"""From what the services keep to what the API shows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aos.api.models import (
    AgentView,
    ApprovalAction,
    ApprovalView,
    CompensationState,
    EffectView,
    RunPage,
    RunState,
    RunSummary,
    RunView,
    Step,
    WorkflowSummary,
    WorkflowView,
)
from aos.kernel.agents.definition import AgentDefinition
from aos.kernel.agents.lifecycle import AgentInstance
from aos.kernel.governance.approval import ApprovalState
from aos.kernel.governance.effects import EffectRecord, EffectState
from aos.kernel.scheduling.budget import usd
from aos.kernel.workflows import definition as workflows
from aos.kernel.workflows.definition import AgentStep, ToolStep, WorkflowDefinition
from aos.kernel.workflows.projection import Progress, Projection, project
from aos.services.effects.effects import EffectKey
from aos.services.environment.clock import timestamp
from aos.services.runs.approvals import Asked
from aos.services.runs.run import Run, RunStatus
from aos.services.system import System


async def show_run(system: System, run: Run) -> RunView:
    """Return everything about a run."""
    definition, records, approvals, effects, input_, output = await asyncio.gather(
        system.definitions.snapshot(run.workflow, run.definition),
        system.log.read(run.id),
        system.approvals.all(run.id),
        system.effects.all(run.id),
        system.values.load(run.id, dict(run.input)),
        system.values.load(run.id, dict(run.output or {"value": None})),
    )
    told = project((step.id for step in definition.steps), records)
    return RunView(
        **_summary(run, _status(run, approvals, effects), told),
        input=input_,
        output=output,
        steps=[_step(definition, step, told.steps[step.id]) for step in definition.steps],
        compensations=[_compensation(definition, *item) for item in told.compensations.items()],
        approvals=[_approval(asked) for asked in approvals],
        effects=[_effect(*item) for item in effects],
        log_size=len(records),
    )


async def list_runs(system: System, status: RunState | None, limit: int, after: str | None) -> RunPage:
    """Return a page of runs that are shown with this status."""
    # Whether a run that runs is waiting is not in its row: those that are not asked for are passed over.
    stored = RunStatus.RUNNING if status == "waiting" else RunStatus(status) if status else None
    found: list[RunSummary] = []
    while True:
        runs, after = await system.runs.list(limit=limit, after=after, status=stored)
        shown = await asyncio.gather(*(_listed(system, run) for run in runs))
        found += [run for run in shown if status in (None, run.status)]
        if len(found) > limit or (len(found) == limit and after is not None):
            return RunPage(runs=found[:limit], next=found[limit - 1].id)
        if after is None:
            return RunPage(runs=found, next=None)


async def _listed(system: System, run: Run) -> RunSummary:
    if run.status is not RunStatus.RUNNING:
        return RunSummary(**_summary(run, run.status.value, None))
    definition, records, approvals, effects = await asyncio.gather(
        system.definitions.snapshot(run.workflow, run.definition),
        system.log.read(run.id),
        system.approvals.all(run.id),
        system.effects.all(run.id),
    )
    told = project((step.id for step in definition.steps), records)
    return RunSummary(**_summary(run, _status(run, approvals, effects), told))


def _status(run: Run, approvals: list[Asked], effects: list[tuple[EffectKey, EffectRecord]]) -> str:
    """Say ``waiting`` of a run that needs a person: the rows know it before the log does."""
    if run.status is RunStatus.RUNNING:
        asks = any(asked.approval.state is ApprovalState.REQUESTED for asked in approvals)
        if asks or any(effect.state is EffectState.UNKNOWN for _, effect in effects):
            return "waiting"
    return run.status.value


def _summary(run: Run, status: str, told: Projection | None) -> dict[str, Any]:
    """Return the fields of a summary. The row has a run's cost when it has ended, the log until then."""
    used = run if run.ended or told is None else told
    return {
        "id": run.id,
        "workflow": run.workflow,
        "definition": run.definition,
        "status": status,
        "created_at": timestamp(run.created_at),
        "created_by": run.created_by,
        "ended_at": None if run.ended_at is None else timestamp(run.ended_at),
        "reason": run.reason,
        "budget_usd": None if run.budget_micro_usd is None else usd(run.budget_micro_usd),
        "cost_usd": usd(used.cost_micro_usd),
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
    }


def _step(definition: WorkflowDefinition, step: workflows.Step, told: Progress) -> Step:
    return Step(
        id=step.id,
        kind=step.kind,
        agent=step.agent if isinstance(step, AgentStep) else None,
        tool=step.tool if isinstance(step, ToolStep) else None,
        needs=sorted(workflows.dependencies(definition, step)),
        state=told.state.value,
        attempt=told.attempt,
        started_at=told.started_at,
        ended_at=told.ended_at,
        cost_usd=usd(told.cost_micro_usd),
        reason=told.reason,
    )


def _compensation(definition: WorkflowDefinition, name: str, told: Progress) -> CompensationState:
    step = definition.step(name)
    undo = step.compensate if isinstance(step, AgentStep | ToolStep) else None
    return CompensationState(
        step=name,
        tool=undo.tool if undo else None,
        state=told.state.value,
        attempt=told.attempt,
        started_at=told.started_at,
        ended_at=told.ended_at,
        reason=told.reason,
    )


def _approval(asked: Asked) -> ApprovalView:
    approval, action = asked.approval, asked.action
    return ApprovalView(
        step=asked.step,
        role=approval.role,
        state=approval.state.value,
        prompt=asked.prompt,
        action=ApprovalAction(kind=action.kind, name=action.name, arguments=action.arguments),
        action_hash=approval.action_hash,
        requested_at=timestamp(approval.requested_at),
        expires_at=timestamp(approval.expires_at),
        actor=approval.actor,
        reason=approval.reason,
    )


def _effect(key: EffectKey, effect: EffectRecord) -> EffectView:
    return EffectView(
        id=effect.id, step=key.step, kind=effect.kind.value, state=effect.state.value, note=effect.note
    )


def show_workflow_summary(definition: WorkflowDefinition) -> WorkflowSummary:
    """Return a workflow as lists show it."""
    return WorkflowSummary(**_workflow(definition))


def show_workflow(definition: WorkflowDefinition) -> WorkflowView:
    """Return a workflow with its definition."""
    return WorkflowView(
        **_workflow(definition), input_schema=definition.input, definition=definition.to_json()
    )


def _workflow(definition: WorkflowDefinition) -> dict[str, Any]:
    return {
        "name": definition.name,
        "description": definition.description,
        "hash": workflows.content_hash(definition),
        "budget_usd": definition.budget_usd,
        "steps": len(definition.steps),
    }


def show_agent(agent: AgentDefinition, state: Mapping[str, Any] | None) -> AgentView:
    """Return an agent's definition with what its instance says of itself."""
    instance = AgentInstance.from_json(state) if state else None
    finished = instance.last_finished_at if instance else None
    return AgentView(
        name=agent.name,
        description=agent.description,
        tools=list(agent.tools),
        model=agent.model,
        max_turns=agent.max_turns,
        max_output_tokens=agent.max_output_tokens,
        reserve_usd=agent.reserve_usd,
        state=instance.state.value if instance else None,
        active=len(instance.active) if instance else 0,
        completed=instance.completed if instance else 0,
        failed=instance.failed if instance else 0,
        consecutive_failures=instance.consecutive_failures if instance else 0,
        reason=instance.reason if instance else None,
        last_finished_at=None if finished is None else timestamp(finished),
    )
