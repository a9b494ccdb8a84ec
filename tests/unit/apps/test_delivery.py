from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aos.kernel.errors import InvalidInput
from aos.sdk import ToolFailed
from apps.leadership.delivery import Component, delivery_risk


@st.composite
def projects(draw: st.DrawFn) -> list[Component]:
    """Components in a random acyclic order of dependence, listed in another order."""
    components = []
    for index in range(draw(st.integers(1, 8))):
        depends_on = (
            draw(st.lists(st.sampled_from([f"c{n}" for n in range(index)]), unique=True)) if index else []
        )
        novelty, effort = draw(st.floats(0, 1)), draw(st.floats(1, 100))
        components.append(
            Component(name=f"c{index}", novelty=novelty, effort_weeks=effort, depends_on=depends_on)
        )
    return draw(st.permutations(components))


deadlines = st.floats(0.1, 1000)


@given(projects(), deadlines)
def test_the_risk_is_a_chance_and_the_riskiest_a_component(
    components: list[Component], deadline: float
) -> None:
    forecast = delivery_risk(components, deadline)
    assert 0 <= forecast.delivery_risk <= 1
    assert forecast.riskiest_component in {component.name for component in components}


@given(projects(), deadlines, deadlines)
def test_a_later_deadline_is_never_riskier(components: list[Component], one: float, other: float) -> None:
    early, late = delivery_risk(components, min(one, other)), delivery_risk(components, max(one, other))
    assert late.delivery_risk <= early.delivery_risk
    assert late.expected_weeks == early.expected_weeks


@given(projects(), st.data())
def test_more_novelty_never_shortens_the_project(components: list[Component], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(components) - 1))
    newer = list(components)
    newer[index] = components[index].model_copy(update={"novelty": 1.0})
    assert delivery_risk(newer, 50.0).expected_weeks >= delivery_risk(components, 50.0).expected_weeks


@given(projects())
def test_at_the_expected_time_the_chances_are_even(components: list[Component]) -> None:
    expected = delivery_risk(components, 50.0).expected_weeks
    assert delivery_risk(components, expected).delivery_risk == pytest.approx(0.5, abs=0.05)


def part(name: str, effort_weeks: float, *depends_on: str, novelty: float = 0.0) -> Component:
    return Component(name=name, novelty=novelty, effort_weeks=effort_weeks, depends_on=list(depends_on))


def test_only_the_critical_path_counts() -> None:
    components = [
        part("end", 5, "long", "short"),
        part("long", 20, novelty=0.5),
        part("short", 3, novelty=0.9),
    ]
    forecast = delivery_risk(components, 31.0)
    assert forecast.expected_weeks == 31.0
    assert forecast.delivery_risk == 0.5
    assert forecast.riskiest_component == "long"


def test_parallel_components_take_the_longest_of_them() -> None:
    assert delivery_risk([part("a", 4), part("b", 7)], 10.0).expected_weeks == 7.0


@pytest.mark.parametrize(
    ("components", "says"),
    [
        ([part("a", 1, "b"), part("b", 1, "a")], "depend on each other: (a -> b -> a|b -> a -> b)"),
        ([part("a", 1, "a")], "depend on each other: a -> a"),
        ([part("a", 1, "x")], "'a' depends on 'x', which is not there"),
        ([part("a", 1), part("a", 2)], "two components have the same name"),
    ],
)
def test_components_that_make_no_sense_are_a_failure(components: list[Component], says: str) -> None:
    with pytest.raises(ToolFailed, match=says):
        delivery_risk(components, 10.0)


@pytest.mark.parametrize(
    ("changed", "parameter"),
    [
        ({"components": []}, "components"),
        ({"components": [{"name": "a", "novelty": 1.1, "effort_weeks": 1}]}, "components.0.novelty"),
        ({"components": [{"name": "a", "novelty": 1, "effort_weeks": 0}]}, "components.0.effort_weeks"),
        ({"components": [{"name": "a", "novelty": 1, "effort_weeks": 1, "x": 1}]}, "components.0.x"),
        ({"deadline_weeks": 0}, "deadline_weeks"),
    ],
)
def test_bad_components_are_refused_by_name(changed: dict[str, Any], parameter: str) -> None:
    good = {"components": [{"name": "a", "novelty": 1, "effort_weeks": 1}], "deadline_weeks": 1}
    with pytest.raises(InvalidInput) as caught:
        delivery_risk.check(good | changed)
    assert caught.value.details["problems"][0]["parameter"] == parameter
