"""What the run reducer needs of a definition, as plain values that travel in the run's history.

A plan is compiled once, when the run is accepted: no validation library runs inside an orchestrator,
so no upgrade of one can change what a replay gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from aos.kernel.workflows.definition import (
    AgentStep,
    DelayStep,
    Retry,
    Step,
    ToolStep,
    WorkflowDefinition,
    dependencies,
)


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step: what it waits for, how long it may take (seconds) and how it is tried again."""

    id: str
    kind: str
    needs: tuple[str, ...]
    conditional: bool
    timeout_s: float
    max_attempts: int
    backoff_s: float
    multiplier: float
    max_backoff_s: float
    compensated: bool

    def backoff(self, failures: int) -> float:
        """Return the seconds to wait after the ``failures``-th failure in a row, from 1."""
        return min(self.max_backoff_s, self.backoff_s * self.multiplier ** (failures - 1))


type Plan = Mapping[str, PlannedStep]
"""The steps by id, in the order in which the definition lists them."""


def compile_plan(definition: WorkflowDefinition) -> Plan:
    """Return the plan of a valid definition."""
    return {step.id: _planned(definition, step) for step in definition.steps}


def _planned(definition: WorkflowDefinition, step: Step) -> PlannedStep:
    retry = step.retry if isinstance(step, AgentStep | ToolStep) else Retry(max_attempts=1)
    return PlannedStep(
        id=step.id,
        kind=step.kind,
        needs=tuple(sorted(dependencies(definition, step))),
        conditional=step.when is not None,
        timeout_s=0.0 if isinstance(step, DelayStep) else step.timeout_s,
        max_attempts=retry.max_attempts,
        backoff_s=retry.backoff_s,
        multiplier=retry.multiplier,
        max_backoff_s=retry.max_backoff_s,
        compensated=isinstance(step, AgentStep | ToolStep) and step.compensate is not None,
    )


def plan_to_json(plan: Plan) -> list[dict[str, Any]]:
    """Return the plan as JSON."""
    return [asdict(step) | {"needs": list(step.needs)} for step in plan.values()]


def plan_from_json(value: list[dict[str, Any]]) -> Plan:
    """Return the plan that ``plan_to_json`` wrote."""
    return {item["id"]: PlannedStep(**(item | {"needs": tuple(item["needs"])})) for item in value}
