"""Expressions: values keep their types, and what goes wrong is said."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aos.kernel.errors import InvalidExpression
from aos.kernel.workflows.expressions import check, evaluate, evaluate_condition, render

VARIABLES = {
    "input": {"title": "Dock", "flows": [-1, 2.5], "deep": {"a": None}},
    "steps": {"a": {"state": "completed", "output": {"n": 3}}, "b": {"state": "skipped", "output": None}},
    "run": {"id": "r"},
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${{ input.flows }}", [-1, 2.5]),
        ("  ${{ steps.a.output.n }}  ", 3),
        ("n is ${{ steps.a.output.n }}, title ${{ input.title }}", "n is 3, title Dock"),
        ("flows: ${{ input.flows }}", "flows: [-1, 2.5]"),
        ("no template", "no template"),
        ("${{ steps.b.state == 'completed' ? steps.b.output : null }}", None),
        (["${{ run.id }}", {"k": "${{ input.deep.a }}"}], ["r", {"k": None}]),
        (7, 7),
    ],
)
def test_a_template_gives_its_value_with_its_type(template: Any, value: Any) -> None:
    assert render(template, VARIABLES) == value


@pytest.mark.parametrize(
    "expression", ["input.none", "1/0", "steps.b.output.n", "input.flows[9]", "b'bytes'", "0.0/0.0"]
)
def test_what_cannot_be_evaluated_is_an_error_that_shows_the_expression(expression: str) -> None:
    with pytest.raises(InvalidExpression, match=expression[:5].replace("[", r"\[").replace("(", r"\(")):
        evaluate(expression, VARIABLES)


@pytest.mark.parametrize("expression", ["1", "'true'", "null", "input"])
def test_a_condition_is_true_or_false_and_nothing_else(expression: str) -> None:
    with pytest.raises(InvalidExpression, match="not true or false"):
        evaluate_condition(expression, VARIABLES)


def test_steps_in_text_are_no_references() -> None:
    assert check("'steps.x.output' == steps.y.state") == {"y"}


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)


@given(JSON)
def test_any_json_value_passes_through_unchanged(value: Any) -> None:
    assert render("${{ input.v }}", {"input": {"v": value}, "steps": {}, "run": {}}) == value


@pytest.mark.parametrize("value", ["a\0b", ["\0"], {"k\0": 1}])
def test_a_text_that_would_be_cut_off_at_a_nul_is_refused(value: Any) -> None:
    with pytest.raises(InvalidExpression, match="NUL"):
        render("${{ input.v }}", {"input": {"v": value}, "steps": {}, "run": {}})
    with pytest.raises(InvalidExpression, match="NUL"):
        evaluate("input.v == 'a'", {"input": {"v": value}, "steps": {}, "run": {}})


def test_an_expression_with_a_nul_is_refused() -> None:
    with pytest.raises(InvalidExpression, match="NUL"):
        check("'a' == 'a\0b'")


@given(st.text(max_size=60))
def test_text_is_a_good_expression_or_refused_by_name(text: str) -> None:
    with contextlib.suppress(InvalidExpression):
        assert check(text) >= frozenset()
