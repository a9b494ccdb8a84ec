"""What the CTO computes: how likely a project is to miss its deadline, and because of what.

The model is PERT with a normal end: components begin when what they depend on is done. Novelty makes
an estimate both too low and uncertain. A component of effort ``e`` weeks and novelty ``n`` takes

    mean = e * (1 + 0.6 n)            a wholly new thing takes 60% longer than estimated
    deviation = e * (0.05 + 0.35 n)   and varies by 40%; the well-known still varies by 5%

The critical path is the one of the longest mean; along it means and variances add up, and the risk is
the chance that a normal variable of that mean and variance exceeds the deadline. Side paths that could
overtake the critical one are not counted, so the risk is a little low when paths are nearly equal.
The three constants are assumptions; an organisation replaces them by its own record.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Annotated

from pydantic import BaseModel, Field

from aos.sdk import ToolFailed, tool

OVERRUN_OF_NOVELTY = 0.6
DEVIATION_OF_THE_KNOWN = 0.05
DEVIATION_OF_NOVELTY = 0.35


class Component(BaseModel):
    """A part of the project that one team builds."""

    name: str = Field(min_length=1, max_length=80)
    novelty: float = Field(ge=0, le=1, description="0: done many times by this team; 1: never done by anyone")
    effort_weeks: float = Field(ge=0.1, le=520, description="the team's estimate, in weeks")
    depends_on: list[str] = Field(default_factory=list, description="names of components that come before")


class Delivery(BaseModel):
    """The forecast. The riskiest component is the critical path's with the greatest expected overrun."""

    delivery_risk: float = Field(ge=0, le=1, description="the chance to miss the deadline")
    expected_weeks: float
    riskiest_component: str


@dataclass(frozen=True, slots=True)
class _Path:
    mean: float
    variance: float
    components: tuple[Component, ...]

    def then(self, component: Component) -> _Path:
        effort, novelty = component.effort_weeks, component.novelty
        mean = effort * (1 + OVERRUN_OF_NOVELTY * novelty)
        deviation = effort * (DEVIATION_OF_THE_KNOWN + DEVIATION_OF_NOVELTY * novelty)
        return _Path(self.mean + mean, self.variance + deviation**2, (*self.components, component))


@tool(effect="none")
def delivery_risk(
    components: Annotated[list[Component], Field(min_length=1, max_length=200)],
    deadline_weeks: Annotated[float, Field(gt=0, le=1040, description="weeks from now to the deadline")],
) -> Delivery:
    """Forecast a project's delivery from its components: expected weeks, risk to miss the deadline."""
    path = _critical_path(components)
    late = (path.mean - deadline_weeks) / math.sqrt(2 * path.variance)
    riskiest = max(path.components, key=lambda component: component.effort_weeks * component.novelty)
    return Delivery(
        delivery_risk=round(0.5 * (1 + math.erf(late)), 4),
        expected_weeks=round(path.mean, 2),
        riskiest_component=riskiest.name,
    )


def _critical_path(components: list[Component]) -> _Path:
    paths: dict[str, _Path] = {}
    start = _Path(0.0, 0.0, ())
    for component in _in_order(components):
        before = (paths[name] for name in component.depends_on)
        paths[component.name] = max(before, key=lambda path: path.mean, default=start).then(component)
    return max(paths.values(), key=lambda path: path.mean)


def _in_order(components: list[Component]) -> list[Component]:
    by_name = {component.name: component for component in components}
    if len(by_name) < len(components):
        raise ToolFailed("two components have the same name")
    for component in components:
        for name in component.depends_on:
            if name not in by_name:
                raise ToolFailed(f"component {component.name!r} depends on {name!r}, which is not there")
    graph = {component.name: component.depends_on for component in components}
    try:
        return [by_name[name] for name in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        raise ToolFailed(f"components depend on each other: {' -> '.join(error.args[1])}") from error
