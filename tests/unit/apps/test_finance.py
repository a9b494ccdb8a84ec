import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aos.kernel.errors import InvalidInput
from aos.sdk import ToolFailed
from apps.leadership.finance import net_present_value, payback_period

flows = st.lists(st.integers(-10_000_000, 10_000_000).map(float), min_size=2, max_size=20)
rates = st.floats(-0.5, 2)


def npv(cash_flows: list[float], rate: float) -> float:
    return net_present_value(cash_flows, rate).npv_usd


def test_the_net_present_value_of_a_textbook_case() -> None:
    assert npv([-1000.0, 500.0, 400.0, 300.0, 100.0], 0.1) == 78.82


@given(flows, st.integers(-50, 50), rates)
def test_it_is_linear_in_the_flows(cash_flows: list[float], factor: int, rate: float) -> None:
    scaled = [factor * flow for flow in cash_flows]
    assert math.isclose(npv(scaled, rate), factor * npv(cash_flows, rate), rel_tol=1e-9, abs_tol=0.6)


@given(st.lists(st.tuples(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6)), min_size=2), rates)
def test_it_adds_up(pairs: list[tuple[int, int]], rate: float) -> None:
    first, second = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    both = [a + b for a, b in zip(first, second, strict=True)]
    assert math.isclose(npv(both, rate), npv(first, rate) + npv(second, rate), rel_tol=1e-9, abs_tol=0.02)


@given(flows)
def test_without_discount_it_is_the_sum(cash_flows: list[float]) -> None:
    assert npv(cash_flows, 0.0) == sum(cash_flows)


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_higher_rate_never_raises_the_value_of_an_investment(one: float, other: float) -> None:
    cash_flows = [-1000.0, 300.0, 400.0, 500.0]
    assert npv(cash_flows, max(one, other)) <= npv(cash_flows, min(one, other))


@pytest.mark.parametrize(
    ("cash_flows", "years"),
    [
        ([-100.0, 50.0, 50.0], 2.0),
        ([-100.0, 80.0, 80.0], 1.25),
        ([-100.0, 99.0], None),
        ([-100.0, 150.0, -100.0, 100.0], 2.5),
        ([-100.0, 150.0, -100.0], None),
        ([0.0, 10.0], 0.0),
    ],
)
def test_the_payback_of_known_cases(cash_flows: list[float], years: float | None) -> None:
    assert payback_period(cash_flows).payback_years == years


@given(flows, st.data())
def test_more_income_never_delays_the_payback(cash_flows: list[float], data: st.DataObject) -> None:
    year = data.draw(st.integers(0, len(cash_flows) - 1))
    more = list(cash_flows)
    more[year] += data.draw(st.integers(0, 10_000_000))
    before, after = payback_period(cash_flows).payback_years, payback_period(more).payback_years
    assert before is None or (after is not None and after <= before)


@given(flows)
def test_flows_pay_back_exactly_when_they_end_at_zero_or_above(cash_flows: list[float]) -> None:
    years = payback_period(cash_flows).payback_years
    assert (years is not None) == (sum(cash_flows) >= 0)
    assert years is None or 0 <= years <= len(cash_flows) - 1


@pytest.mark.parametrize(
    ("arguments", "parameter"),
    [
        ({"cash_flows": [], "discount_rate": 0.1}, "cash_flows"),
        ({"cash_flows": [-1.0], "discount_rate": 0.1}, "cash_flows"),
        ({"cash_flows": [-1.0, "2"], "discount_rate": 0.1}, "cash_flows.1"),
        ({"cash_flows": [-1.0, 1e300], "discount_rate": 0.1}, "cash_flows.1"),
        ({"cash_flows": [-1.0, 2.0], "discount_rate": -1}, "discount_rate"),
        ({"cash_flows": [-1.0, 2.0], "discount_rate": True}, "discount_rate"),
        ({"cash_flows": [-1.0, 2.0]}, "discount_rate"),
    ],
)
def test_bad_figures_are_refused_by_name(arguments: dict[str, Any], parameter: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        net_present_value.check(arguments)
    assert caught.value.details["problems"][0]["parameter"] == parameter


def test_nan_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not JSON"):
        payback_period.check({"cash_flows": [float("nan"), 1.0]})


@pytest.mark.parametrize("rate", [-1 + 1e-16, -1 + 1e-10])
def test_a_value_beyond_computing_is_a_failure(rate: float) -> None:
    with pytest.raises(ToolFailed, match="beyond what can be computed"):
        net_present_value([-1.0] + [1.0] * 99, rate)
