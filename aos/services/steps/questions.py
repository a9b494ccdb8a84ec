"""The policy questions of a run, in the words of the policy schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aos.kernel.agents.definition import AgentDefinition, ToolDefinition
from aos.kernel.canonical import Json
from aos.kernel.governance.approval import Action
from aos.kernel.governance.policy import Entity, PolicyRequest
from aos.kernel.workflows.definition import AgentStep, ToolStep, WorkflowDefinition


@dataclass(frozen=True, slots=True)
class Place:
    """Where a question comes up. Costs are in micro-dollars."""

    tenant: str
    run: str
    step: str
    workflow: WorkflowDefinition
    cost_micro_usd: int = 0


def tool_action(tool: str, arguments: Mapping[str, Any]) -> Action:
    """Return the call of a tool as the action that an approval is bound to."""
    return Action("tool.call", tool, dict(arguments))


def may_call(
    tool: ToolDefinition,
    arguments: Mapping[str, Any],
    place: Place,
    *,
    agent: AgentDefinition | None,
    approvers: Mapping[str, str],
) -> PolicyRequest:
    """Ask whether the agent, or without one the run itself, may call the tool so."""
    principal, attributes = _agent(agent) if agent else _run(place)
    resource = Entity("Tool", tool.name)
    context: dict[str, Json] = {
        **_context(place),
        "arguments": dict(arguments),
        "arguments_hash": tool_action(tool.name, arguments).hash,
        "approved_roles": [*sorted(approvers)],
        "approved_by": [*sorted(set(approvers.values()))],
    }
    entities: dict[Entity, dict[str, Json]] = {principal: attributes, resource: {"effect": tool.effect.value}}
    return PolicyRequest(principal, "tool.call", resource, context, entities)


def may_ask(agent: AgentDefinition, place: Place) -> PolicyRequest:
    """Ask whether the run may give work to the agent."""
    principal, attributes = _run(place)
    return PolicyRequest(
        principal, "agent.ask", Entity("Agent", agent.name), _context(place), {principal: attributes}
    )


def may_infer(agent: AgentDefinition, model: str, place: Place) -> PolicyRequest:
    """Ask whether the agent may use the model."""
    principal, attributes = _agent(agent)
    return PolicyRequest(
        principal, "model.infer", Entity("Model", model), _context(place), {principal: attributes}
    )


def _context(place: Place) -> dict[str, Json]:
    return {
        "tenant": place.tenant,
        "run": place.run,
        "workflow": place.workflow.name,
        "step": place.step,
        "cost_micro_usd": place.cost_micro_usd,
        "arguments": {},
    }


def _agent(agent: AgentDefinition) -> tuple[Entity, dict[str, Json]]:
    return Entity("Agent", agent.name), {"tools": list(agent.tools)}


def _run(place: Place) -> tuple[Entity, dict[str, Json]]:
    agents = {step.agent for step in place.workflow.steps if isinstance(step, AgentStep)}
    tools = {step.tool for step in place.workflow.steps if isinstance(step, ToolStep)}
    tools |= {
        step.compensate.tool
        for step in place.workflow.steps
        if isinstance(step, AgentStep | ToolStep) and step.compensate
    }
    return Entity("Run", place.run), {"agents": [*sorted(agents)], "tools": [*sorted(tools)]}
