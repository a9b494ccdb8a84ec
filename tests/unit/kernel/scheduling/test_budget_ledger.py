import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aos.kernel.errors import InvalidInput
from aos.kernel.scheduling.budget import (
    Adjusted,
    Budget,
    Closed,
    Compact,
    Event,
    NotReserved,
    Refused,
    Release,
    Released,
    Reserve,
    Reserved,
    SetLimit,
    Settle,
    Settled,
    advance,
    micro_usd,
    usd,
)


def after(*events: Event, limit: int = 100) -> Budget:
    budget = Budget(limit)
    for event in events:
        budget, _ = advance(budget, event)
    return budget


def test_a_reservation_is_held_until_it_is_settled():
    held = after(Reserve("a", 60, 1))
    assert (held.reserved, held.spent, held.available) == (60, 0, 40)
    settled, result = advance(held, Settle("a", 45))
    assert (settled.reserved, settled.spent, settled.available) == (0, 45, 55)
    assert result == Settled("a", 45, 0)


def test_a_reservation_above_what_is_left_is_refused_and_changes_nothing():
    held = after(Reserve("a", 60, 1))
    assert advance(held, Reserve("b", 41, 1)) == (held, Refused(available=40, asked=41))


def test_a_refused_reservation_may_be_asked_for_again_when_money_is_back():
    held = after(Reserve("a", 60, 1), Reserve("b", 41, 1), Release("a"))
    assert advance(held, Reserve("b", 41, 1))[1] == Reserved("b", 41)


def test_reserving_again_holds_the_first_amount_once():
    held = after(Reserve("a", 60, 1))
    assert advance(held, Reserve("a", 90, 1)) == (held, Reserved("a", 60))


@pytest.mark.parametrize("end", [Settle("a", 10), Release("a")])
def test_a_reservation_redelivered_after_its_end_holds_nothing(end: Event):
    ended = after(Reserve("a", 60, 1), end)
    assert advance(ended, Reserve("a", 60, 1)) == (ended, Closed("a"))


def test_settling_again_counts_once_and_gives_the_first_figures():
    settled = after(Reserve("a", 60, 1), Settle("a", 70))
    assert advance(settled, Settle("a", 5)) == (settled, Settled("a", 70, overrun=10))


def test_a_settlement_above_the_reservation_is_spent_and_flagged():
    budget = after(Reserve("a", 60, 1), Settle("a", 130))
    assert (budget.spent, budget.overrun, budget.available) == (130, 70, 0)


def test_the_cost_of_a_released_reservation_counts_when_it_comes_after_all():
    budget = after(Reserve("a", 60, 1), Release("a"), Settle("a", 50))
    assert (budget.spent, budget.overrun) == (50, 50)


def test_releasing_gives_back_once_and_never_after_a_settlement():
    held = after(Reserve("a", 60, 1))
    released, result = advance(held, Release("a"))
    assert (released.reserved, result) == (0, Released("a", 60))
    assert advance(released, Release("a")) == (released, Released("a", 0))
    settled = after(Reserve("a", 60, 1), Settle("a", 60))
    assert advance(settled, Release("a")) == (settled, Settled("a", 60, 0))


def test_what_was_never_reserved_is_neither_settled_nor_released():
    budget = after()
    assert advance(budget, Settle("a", 5)) == (budget, NotReserved("a"))
    assert advance(budget, Release("a")) == (budget, NotReserved("a"))


def test_a_limit_below_what_is_used_leaves_nothing():
    budget, result = advance(after(Reserve("a", 60, 1)), SetLimit(50))
    assert (result, budget.reserved) == (Adjusted(0), 60)
    assert advance(budget, Reserve("b", 1, 2))[1] == Refused(0, 1)
    assert advance(budget, Reserve("b", 0, 2))[1] == Refused(0, 0), "overdrawn: not even nothing"


def test_a_compacted_ledger_refuses_what_it_may_have_forgotten_and_counts_nothing_twice():
    budget = after(Reserve("old", 10, 1), Settle("old", 10), Reserve("open", 10, 1), Compact(5))
    assert not budget.closed
    assert advance(budget, Reserve("old", 10, 1)) == (budget, Closed("old"))
    assert advance(budget, Settle("old", 10)) == (budget, NotReserved("old"))
    assert advance(budget, Reserve("open", 10, 1))[1] == Reserved("open", 10)
    assert advance(budget, Reserve("new", 10, 5))[1] == Reserved("new", 10)


def test_the_floor_never_sinks():
    assert after(Compact(5), Compact(3)).floor == 5


@pytest.mark.parametrize("amount", [-1, 1.5, True])
def test_amounts_are_whole_and_not_negative(amount: int):
    for event in (Reserve("a", amount, 1), Settle("a", amount), SetLimit(amount)):
        with pytest.raises(InvalidInput, match="micro-dollars"):
            advance(Budget(100), event)


@pytest.mark.parametrize(
    ("dollars", "micro"),
    [("0.01", 10_000), (0.1, 100_000), (0, 0), ("0.0000001", 1), (1e-7, 1), (3, 3_000_000)],
)
def test_dollars_become_micro_dollars_rounded_up(dollars: float | str, micro: int):
    assert micro_usd(dollars) == micro


@pytest.mark.parametrize("dollars", ["", "x", "nan", "inf", float("nan"), -0.01])
def test_what_is_no_amount_is_refused(dollars: float | str):
    with pytest.raises(InvalidInput, match="not an amount"):
        micro_usd(dollars)


@given(st.integers(0, 10**12))
def test_micro_dollars_survive_being_shown(micro: int):
    assert micro_usd(usd(micro)) == micro


IDS = st.sampled_from([f"r{n}" for n in range(8)])


class Ledger(RuleBasedStateMachine):
    """Against redelivery, disorder and compaction: the sums hold, and no id counts twice."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(1000)
        self.asked: dict[str, Reserve] = {}
        self.ended: set[str] = set()
        self.settled: dict[str, int] = {}
        self.clock = 0.0

    def _advance(self, event: Event) -> object:
        before = self.budget
        self.budget, result = advance(before, event)
        assert advance(self.budget, event)[0] == self.budget, "repeating an event changed the ledger"
        return result

    @rule(id_=IDS, amount=st.integers(0, 600))
    def reserve(self, id_: str, amount: int) -> None:
        self.clock += 1
        event = self.asked.setdefault(id_, Reserve(id_, amount, self.clock))
        before = self.budget
        result = self._advance(event)
        if isinstance(result, Refused):
            assert self.budget == before
            assert before.spent + before.reserved + event.amount > before.limit
        if isinstance(result, Reserved) and id_ not in before.held:
            assert id_ not in self.ended, "a closed reservation was opened again"
            assert self.budget.spent + self.budget.reserved <= self.budget.limit

    @rule(id_=IDS, actual=st.integers(0, 900))
    def settle(self, id_: str, actual: int) -> None:
        before = self.budget
        result = self._advance(Settle(id_, actual))
        if isinstance(result, Settled):
            assert self.settled.setdefault(id_, result.actual) == result.actual
            self.ended.add(id_)
        else:
            assert self.budget == before

    @rule(id_=IDS)
    def release(self, id_: str) -> None:
        if isinstance(self._advance(Release(id_)), Released):
            self.ended.add(id_)

    @rule(limit=st.integers(0, 2000))
    def set_limit(self, limit: int) -> None:
        self._advance(SetLimit(limit))

    @precondition(lambda self: self.clock > 0)
    @rule(share=st.floats(0, 1))
    def compact(self, share: float) -> None:
        self._advance(Compact(self.clock * share))

    @invariant()
    def spent_is_the_sum_of_what_was_settled(self) -> None:
        assert self.budget.spent == sum(self.settled.values())

    @invariant()
    def nothing_is_both_held_and_closed(self) -> None:
        assert not set(self.budget.held) & set(self.budget.closed)
        assert not set(self.budget.held) & self.ended

    @invariant()
    def survives_json(self) -> None:
        assert Budget.from_json(json.loads(json.dumps(self.budget.to_json()))) == self.budget


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
