from hypothesis import given
from hypothesis import strategies as st

from apps.leadership.decision import weigh

amounts = st.floats(-1e9, 1e9)
years = st.none() | st.floats(0, 50)
risks = st.floats(0, 1)
investments = st.floats(1, 1e9)


@given(amounts, years, risks, investments)
def test_the_score_is_in_range_and_reasons_are_given(
    npv: float, payback: float | None, risk: float, investment: float
) -> None:
    weighing = weigh(npv, payback, risk, investment)
    assert 0 <= weighing.score <= 1
    assert len(weighing.reasons) >= 4
    assert weighing.decision == "reject" or (weighing.score >= 0.6 and npv > 0 and risk <= 0.5)


@given(amounts, amounts, years, risks, investments)
def test_more_worth_never_lowers_the_score(
    one: float, other: float, payback: float | None, risk: float, investment: float
) -> None:
    low, high = (
        weigh(min(one, other), payback, risk, investment),
        weigh(max(one, other), payback, risk, investment),
    )
    assert low.score <= high.score
    assert (low.decision, high.decision) != ("approve", "reject")


@given(amounts, years, risks, risks, investments)
def test_more_risk_never_raises_the_score(
    npv: float, payback: float | None, one: float, other: float, investment: float
) -> None:
    safe, risky = (
        weigh(npv, payback, min(one, other), investment),
        weigh(npv, payback, max(one, other), investment),
    )
    assert risky.score <= safe.score
    assert (safe.decision, risky.decision) != ("reject", "approve")


def test_the_weights_are_the_documented_ones() -> None:
    assert weigh(0.0, 4.0, 0.25, 100.0).score == 0.575  # 0.5 * 0.5 + 0.2 * 0.5 + 0.3 * 0.75
    assert weigh(50.0, 0.0, 0.0, 100.0).score == 1.0
    assert weigh(-50.0, None, 1.0, 100.0).score == 0.0


def test_a_veto_is_named() -> None:
    late = weigh(1000.0, 0.5, 0.6, 100.0)
    assert (late.decision, late.reasons[-1]) == (
        "reject",
        "rejected whatever the score: more likely late than on time",
    )
    assert "worth no more than it costs" in weigh(0.0, 0.0, 0.0, 100.0).reasons[-1]
