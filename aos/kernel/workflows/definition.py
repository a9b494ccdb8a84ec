"""A workflow's definition: its shape, how it is read from YAML or JSON, and what makes it valid."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jsonschema
import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from aos.kernel.canonical import digest
from aos.kernel.errors import InvalidDefinition, InvalidExpression
from aos.kernel.ids import ID_PATTERN
from aos.kernel.workflows import expressions
from aos.kernel.workflows.graph import find_cycle

MAX_STEPS = 200
Name = Annotated[str, StringConstraints(pattern=rf"^{ID_PATTERN}$")]
StepId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
Seconds = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class Retry(_Model):
    """How often a step that failed is tried, and how long it waits in between, in seconds."""

    max_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    backoff_s: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 1.0
    multiplier: Annotated[float, Field(ge=1, le=10, allow_inf_nan=False)] = 2.0
    max_backoff_s: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 60.0


class Compensation(_Model):
    """The tool call that undoes a step; ``with`` may refer to the step's own output."""

    tool: Name
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")


class _Step(_Model):
    id: StepId
    needs: tuple[StepId, ...] = Field(default=(), strict=False)
    when: str | None = None


class AgentStep(_Step):
    """An agent works on a task; its answer is the step's output."""

    kind: Literal["agent"]
    agent: Name
    task: Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    retry: Retry = Retry()
    timeout_s: Seconds = 300.0
    compensate: Compensation | None = None


class ToolStep(_Step):
    """A tool is called; its result is the step's output."""

    kind: Literal["tool"]
    tool: Name
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    retry: Retry = Retry()
    timeout_s: Seconds = 120.0
    compensate: Compensation | None = None


class ApprovalStep(_Step):
    """A person approves an action: the call of the tool step ``of``, or what ``with`` describes."""

    kind: Literal["approval"]
    of: StepId | None = None
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    prompt: str = ""
    role: Name = "approver"
    timeout_s: Seconds = 604_800.0


class DelayStep(_Step):
    """The run waits for ``seconds``: a number, or an expression that gives one."""

    kind: Literal["delay"]
    seconds: Seconds | Annotated[str, StringConstraints(pattern=r"^\s*\$\{\{.*\}\}\s*$")]


type Step = AgentStep | ToolStep | ApprovalStep | DelayStep


class WorkflowDefinition(_Model):
    """A workflow as its author wrote it, checked."""

    name: Name
    description: str = ""
    input: dict[str, Any] = Field(default_factory=lambda: {"type": "object"})
    budget_usd: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | None = None
    steps: tuple[Annotated[Step, Field(discriminator="kind")], ...] = Field(strict=False)
    output: dict[str, Any] = Field(default_factory=dict)

    def step(self, step_id: str) -> Step:
        """Return the step with this id; KeyError if there is none."""
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)

    def to_json(self) -> dict[str, Any]:
        """Return the definition as JSON, in the form that ``parse`` takes."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The names that a definition may refer to."""

    agents: Collection[str]
    tools: Collection[str]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: in which step (None: the workflow itself), in which field, and what."""

    step: str | None
    field: str
    message: str

    def __str__(self) -> str:
        where = f"step {self.step!r}, field {self.field!r}" if self.step else f"field {self.field!r}"
        return f"{where}: {self.message}"


def parse(source: str | bytes | Mapping[str, Any], catalog: Catalog) -> WorkflowDefinition:
    """Read a definition from YAML, JSON (which is YAML) or a mapping, and check all of it.

    Raises:
        InvalidDefinition: with every problem found; ``details["problems"]`` lists them as
            ``{step, field, message}``.
    """
    raw = source if isinstance(source, Mapping) else _load(source)
    try:
        definition = WorkflowDefinition.model_validate(raw)
    except ValidationError as error:
        raise _invalid(raw, list(_shape_problems(raw, error))) from None
    problems = list(_problems(definition, catalog))
    if problems:
        raise _invalid(raw, problems)
    return definition


def dependencies(definition: WorkflowDefinition, step: Step) -> frozenset[str]:
    """Return the ids of the steps that ``step`` waits for: those it needs and those it refers to.

    An approval of another step's call waits for all that the call's arguments refer to as well.
    """
    found = set(step.needs)
    for _, expression in _forward_expressions(step):
        found |= expressions.check(expression)
    if isinstance(step, ApprovalStep) and step.of is not None:
        target = definition.step(step.of)
        assert isinstance(target, ToolStep)
        for expression in expressions.expressions_in(target.with_):
            found |= expressions.check(expression)
    return frozenset(found)


def _load(source: str | bytes) -> Mapping[str, Any]:
    try:
        raw = yaml.load(source, Loader=_NoDuplicateKeys)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid(
            {}, [Problem(None, "-", f"not YAML or JSON: {' '.join(str(error).split())}")]
        ) from None
    if not isinstance(raw, dict):
        raise _invalid({}, [Problem(None, "-", "a workflow is an object with name and steps")])
    return raw


class _NoDuplicateKeys(yaml.SafeLoader):
    """Refuses a mapping in which a key stands twice: one of the two would be lost unseen."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} is not a string", problem_mark=node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key!r} stands twice", problem_mark=node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _invalid(raw: Mapping[str, Any], problems: list[Problem]) -> InvalidDefinition:
    name = raw.get("name") if isinstance(raw.get("name"), str) else None
    head = f"workflow {name!r}" if name else "the workflow"
    first = problems[0]
    return InvalidDefinition(
        f"{head} is not valid: " + "; ".join(map(str, problems)),
        workflow=name,
        step=first.step,
        field=first.field,
        problems=[{"step": p.step, "field": p.field, "message": p.message} for p in problems],
    )


def _shape_problems(raw: Mapping[str, Any], error: ValidationError) -> Iterator[Problem]:
    for item in error.errors(include_url=False, include_input=False):
        path, step = list(item["loc"]), None
        if len(path) > 1 and path[0] == "steps" and isinstance(path[1], int):
            step = _step_name(raw, path[1])
            path = path[3:] if len(path) > 3 else path[2:]
        message = item["msg"]
        if item["type"] in ("union_tag_not_found", "union_tag_invalid"):
            path, message = [*path, "kind"], "is one of agent, tool, approval, delay"
        yield Problem(step, ".".join(map(str, path)) or "-", message)


def _step_name(raw: Mapping[str, Any], index: int) -> str:
    step = raw["steps"][index]
    name = step.get("id") if isinstance(step, Mapping) else None
    return name if isinstance(name, str) else f"#{index + 1}"


def _problems(definition: WorkflowDefinition, catalog: Catalog) -> Iterator[Problem]:
    if not 1 <= len(definition.steps) <= MAX_STEPS:
        yield Problem(None, "steps", f"a workflow has 1 to {MAX_STEPS} steps, not {len(definition.steps)}")
    ids: set[str] = set()
    for step in definition.steps:
        if step.id in ids:
            yield Problem(step.id, "id", "stands twice")
        ids.add(step.id)
    try:
        jsonschema.Draft202012Validator.check_schema(definition.input)
    except jsonschema.SchemaError as error:
        yield Problem(None, "input", f"is no JSON Schema: {error.message}")
    for step in definition.steps:
        yield from _step_problems(step, ids, catalog, definition)
    yield from _template_problems(None, "output", definition.output, ids)
    yield from _cycle_problems(definition)


def _step_problems(
    step: Step, ids: set[str], catalog: Catalog, definition: WorkflowDefinition
) -> Iterator[Problem]:
    for needed in step.needs:
        if needed not in ids:
            yield Problem(step.id, "needs", f"there is no step {needed!r}")
    if isinstance(step, AgentStep) and step.agent not in catalog.agents:
        yield Problem(step.id, "agent", _unknown("agent", step.agent, catalog.agents))
    if isinstance(step, ToolStep) and step.tool not in catalog.tools:
        yield Problem(step.id, "tool", _unknown("tool", step.tool, catalog.tools))
    if isinstance(step, ApprovalStep) and step.of is not None:
        target = next((other for other in definition.steps if other.id == step.of), None)
        if not isinstance(target, ToolStep):
            yield Problem(step.id, "of", f"there is no tool step {step.of!r}")
        if step.with_:
            yield Problem(step.id, "with", "an approval has either 'of' or 'with'")
    for field, expression in _forward_expressions(step):
        yield from _expression_problems(step.id, field, expression, ids)
    if isinstance(step, AgentStep | ToolStep) and step.compensate is not None:
        if step.compensate.tool not in catalog.tools:
            yield Problem(step.id, "compensate.tool", _unknown("tool", step.compensate.tool, catalog.tools))
        yield from _template_problems(step.id, "compensate.with", step.compensate.with_, ids)


def _unknown(what: str, name: str, known: Collection[str]) -> str:
    return f"there is no {what} {name!r}; known: {', '.join(sorted(known)) or 'none'}"


def _forward_expressions(step: Step) -> Iterator[tuple[str, str]]:
    if step.when is not None:
        yield "when", step.when
    if isinstance(step, AgentStep):
        yield from (("task", found) for found in expressions.expressions_in(step.task))
    if isinstance(step, AgentStep | ToolStep | ApprovalStep):
        yield from (("with", found) for found in expressions.expressions_in(step.with_))
    if isinstance(step, ApprovalStep):
        yield from (("prompt", found) for found in expressions.expressions_in(step.prompt))
    if isinstance(step, DelayStep) and isinstance(step.seconds, str):
        yield from (("seconds", found) for found in expressions.expressions_in(step.seconds))


def _template_problems(step: str | None, field: str, value: Any, ids: set[str]) -> Iterator[Problem]:
    for expression in expressions.expressions_in(value):
        yield from _expression_problems(step, field, expression, ids)


def _expression_problems(step: str | None, field: str, expression: str, ids: set[str]) -> Iterator[Problem]:
    try:
        unknown = expressions.check(expression) - ids
    except InvalidExpression as error:
        yield Problem(step, field, error.message)
        return
    for name in sorted(unknown):
        yield Problem(step, field, f"there is no step {name!r}")


def _cycle_problems(definition: WorkflowDefinition) -> Iterator[Problem]:
    try:
        cycle = find_cycle({step.id: dependencies(definition, step) for step in definition.steps})
    except InvalidExpression:
        return  # reported with its step and field already
    except KeyError:
        return  # an unknown step, likewise
    if cycle:
        yield Problem(cycle[0], "needs", f"steps wait for each other: {' -> '.join(cycle)}")


def content_hash(definition: WorkflowDefinition) -> str:
    """Return the SHA-256 that names exactly this definition."""
    return digest(definition.to_json())
