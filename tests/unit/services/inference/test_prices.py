"""Prices: exact, dated, and never guessed."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aos.kernel.errors import InvalidSetting
from aos.services.inference import Price, PriceTable, Usage, make_price_table
from aos.services.inference.prices import AS_OF, PRICES, SOURCE

TOKENS = st.integers(0, 10**9)


def test_a_cost_is_exact() -> None:
    assert PriceTable().cost("gpt-4o-mini", Usage(1_000, 100)) == Decimal("0.00021")


def test_a_dated_snapshot_costs_what_its_model_costs() -> None:
    table = PriceTable()
    assert table.price("gpt-4.1-mini-2025-04-14") == table.price("gpt-4.1-mini")


def test_a_snapshot_with_a_price_of_its_own_keeps_it() -> None:
    assert PriceTable().price("gpt-4o-2024-05-13").input_usd == 5


@pytest.mark.parametrize("model", ["board-model", "gpt-4", "gpt-4o-audio", ""])
def test_an_unknown_model_is_refused_with_the_settings_that_help(model: str) -> None:
    with pytest.raises(InvalidSetting, match=r"AOS_MODEL_PRICE_INPUT.*AOS_MODEL_PRICE_OUTPUT") as caught:
        PriceTable().worst_case(model, 1, 1)
    assert repr(model) in caught.value.message


def test_a_configured_price_goes_before_the_table() -> None:
    table = make_price_table(2.0, 0.1)
    assert table.cost("board-model", Usage(500_000, 0)) == 1
    assert table.price("gpt-4o") == Price(Decimal("2.0"), Decimal("0.1"))


def test_no_configured_price_leaves_the_table() -> None:
    assert make_price_table(None, None) == PriceTable()


@pytest.mark.parametrize(
    ("given_in", "given_out", "named"),
    [
        (1, None, "AOS_MODEL_PRICE_OUTPUT"),
        (None, 1, "AOS_MODEL_PRICE_INPUT"),
        (-1, 1, "AOS_MODEL_PRICE_INPUT"),
        (1, float("nan"), "AOS_MODEL_PRICE_OUTPUT"),
        (1, float("inf"), "AOS_MODEL_PRICE_OUTPUT"),
    ],
)
def test_a_price_that_is_none_stops_with_its_setting(
    given_in: float | None, given_out: float | None, named: str
) -> None:
    with pytest.raises(InvalidSetting, match=named):
        make_price_table(given_in, given_out)


@given(st.sampled_from(sorted(PRICES)), TOKENS, TOKENS, TOKENS)
def test_no_reply_within_its_limit_costs_more_than_the_worst_case(
    model: str, reads: int, limit: int, writes: int
) -> None:
    table = PriceTable()
    cost = table.cost(model, Usage(reads, min(writes, limit)))
    assert cost <= table.worst_case(model, reads, limit)


def test_the_table_says_how_old_it_is_and_that_the_mock_is_notional() -> None:
    assert date(2025, 8, 7) <= AS_OF
    assert "`mock` has a notional price" in SOURCE
