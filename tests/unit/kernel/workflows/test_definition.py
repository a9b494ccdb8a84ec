"""Definitions: what is wrong is refused with its step and its field, all of it at once."""

from __future__ import annotations

from typing import Any

import pytest

from aos.kernel.errors import InvalidDefinition
from aos.kernel.workflows.definition import Catalog, WorkflowDefinition, content_hash, dependencies, parse
from aos.kernel.workflows.plan import compile_plan

CATALOG = Catalog(agents={"cfo"}, tools={"pay", "refund"})
TOOL = {"kind": "tool", "tool": "pay"}


def workflow(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "w", "steps": list(steps)} | more


def problems(source: Any) -> list[tuple[str | None, str]]:
    with pytest.raises(InvalidDefinition) as caught:
        parse(source, CATALOG)
    return [(problem["step"], problem["field"]) for problem in caught.value.details["problems"]]


@pytest.mark.parametrize(
    ("step", "field"),
    [
        ({"id": "a", "kind": "agent", "agent": "nobody", "task": "t"}, "agent"),
        ({"id": "a", "kind": "tool", "tool": "nothing"}, "tool"),
        ({"id": "a", **TOOL, "needs": ["b"]}, "needs"),
        ({"id": "a", **TOOL, "needs": ["a"]}, "needs"),
        ({"id": "a", **TOOL, "when": "steps.b.output"}, "when"),
        ({"id": "a", **TOOL, "when": "1 +"}, "when"),
        ({"id": "a", **TOOL, "when": "unknown_variable"}, "when"),
        ({"id": "a", **TOOL, "when": "steps['a']"}, "when"),
        ({"id": "a", **TOOL, "with": {"x": {"y": ["${{ steps.zz.output }}"]}}}, "with"),
        ({"id": "a", **TOOL, "compensate": {"tool": "nothing"}}, "compensate.tool"),
        (
            {"id": "a", **TOOL, "compensate": {"tool": "refund", "with": {"x": "${{ 1 + }}"}}},
            "compensate.with",
        ),
        ({"id": "a", **TOOL, "retry": {"max_attempts": 0}}, "retry.max_attempts"),
        ({"id": "a", **TOOL, "timeout_s": -1}, "timeout_s"),
        ({"id": "a", **TOOL, "surprise": 1}, "surprise"),
        ({"id": "a", "kind": "approval", "of": "b"}, "of"),
        ({"id": "a", "kind": "wish"}, "kind"),
        ({"id": "a", "kind": "agent", "agent": "cfo", "task": 3}, "task"),
    ],
)
def test_a_fault_is_refused_with_its_step_and_field(step: dict[str, Any], field: str) -> None:
    assert ("a", field) in problems(workflow(step))


def test_a_duplicate_id_is_refused() -> None:
    assert ("a", "id") in problems(workflow({"id": "a", **TOOL}, {"id": "a", **TOOL}))


def test_a_cycle_is_refused_and_shown() -> None:
    steps = ({"id": "a", **TOOL, "needs": ["b"]}, {"id": "b", **TOOL, "when": "steps.a.output == 1"})
    with pytest.raises(InvalidDefinition, match=r"a -> b -> a|b -> a -> b"):
        parse(workflow(*steps), CATALOG)


def test_all_faults_are_reported_at_once() -> None:
    found = problems(workflow({"id": "a", "kind": "tool", "tool": "x"}, {"id": "b", **TOOL, "needs": ["c"]}))
    assert found == [("a", "tool"), ("b", "needs")]


@pytest.mark.parametrize(
    "source", ["{", "- a", "3", "", "name: w\nname: v", b"\xff\xfe\x00", "? {a: 1}\n: 2"]
)
def test_what_is_no_yaml_object_is_refused(source: Any) -> None:
    assert problems(source)


def test_a_schema_that_is_none_is_refused() -> None:
    assert (None, "input") in problems(workflow({"id": "a", **TOOL}, input={"type": "nonsense"}))


def test_a_workflow_without_steps_is_refused() -> None:
    assert problems(workflow()) == [(None, "steps")]


def test_yaml_and_json_give_the_same_definition() -> None:
    as_json = '{"name": "w", "steps": [{"id": "a", "kind": "tool", "tool": "pay"}]}'
    as_yaml = "name: w\nsteps:\n  - {id: a, kind: tool, tool: pay}\n"
    assert parse(as_json, CATALOG) == parse(as_yaml, CATALOG)


def test_what_an_expression_refers_to_is_a_dependency() -> None:
    definition = parse(
        workflow(
            {"id": "a", **TOOL},
            {"id": "b", **TOOL},
            {"id": "c", **TOOL, "when": "steps.a.state == 'completed' && 'steps.b' != ''"},
            {
                "id": "d",
                "kind": "agent",
                "agent": "cfo",
                "task": "say ${{ steps.b.output.x }}",
                "needs": ["c"],
            },
        ),
        CATALOG,
    )
    assert dependencies(definition, definition.step("c")) == {"a"}
    assert dependencies(definition, definition.step("d")) == {"b", "c"}


def test_an_approval_waits_for_all_that_the_approved_call_needs() -> None:
    definition = parse(
        workflow(
            {"id": "a", **TOOL},
            {"id": "ok", "kind": "approval", "of": "b"},
            {"id": "b", **TOOL, "needs": ["ok"], "with": {"x": "${{ steps.a.output }}"}},
        ),
        CATALOG,
    )
    assert dependencies(definition, definition.step("ok")) == {"a"}


def test_a_definition_survives_its_snapshot_and_keeps_its_hash() -> None:
    definition = parse(
        workflow({"id": "a", **TOOL, "compensate": {"tool": "refund", "with": {"x": 1}}}, budget_usd=1.5),
        CATALOG,
    )
    again = WorkflowDefinition.model_validate(definition.to_json())
    assert again == definition
    assert content_hash(again) == content_hash(definition)


def test_a_plan_knows_what_is_conditional_and_what_can_be_undone() -> None:
    definition = parse(
        workflow({"id": "a", **TOOL, "when": "true"}, {"id": "b", **TOOL, "compensate": {"tool": "refund"}}),
        CATALOG,
    )
    plan = compile_plan(definition)
    assert (plan["a"].conditional, plan["a"].compensated) == (True, False)
    assert (plan["b"].conditional, plan["b"].compensated) == (False, True)
