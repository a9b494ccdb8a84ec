import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aos.kernel.errors import AosError, Conflict, IllegalTransition, InvalidInput
from aos.kernel.governance.approval import (
    Action,
    Approval,
    ApprovalState,
    Decide,
    Event,
    Expire,
    Withdraw,
    advance,
)

ACTION = Action("tool.call", "reserve_funds", {"amount_usd": 5, "project": "p"})
OTHER = replace(ACTION, arguments={"amount_usd": 6, "project": "p"})
ASKED = Approval(ACTION.hash, "board", requested_at=10, expires_at=20)


def decision(
    actor: str = "ada", *, approve: bool = True, action: Action = ACTION, reason: str = "fine", at: float = 12
) -> Decide:
    return Decide(actor, action.hash, approve, reason, at)


def test_equal_actions_have_equal_hashes_whatever_the_order_of_arguments():
    assert replace(ACTION, arguments={"project": "p", "amount_usd": 5}).hash == ACTION.hash
    others = {OTHER.hash, replace(ACTION, kind="message.publish").hash, replace(ACTION, name="pay").hash}
    assert len(others | {ACTION.hash}) == 4


@pytest.mark.parametrize(("approve", "state"), [(True, "approved"), (False, "rejected")])
def test_a_decision_is_recorded_with_who_why_and_when(approve: bool, state: str):
    ended = advance(ASKED, decision(approve=approve))
    assert (ended.state, ended.actor, ended.reason, ended.ended_at) == (state, "ada", "fine", 12)


def test_deciding_on_another_action_says_that_it_changed():
    with pytest.raises(Conflict, match="the action changed"):
        advance(ASKED, decision(action=OTHER))


def test_the_same_decision_again_keeps_the_first():
    ended = advance(ASKED, decision())
    assert advance(ended, decision(reason="again", at=99)) is ended


@pytest.mark.parametrize("again", [decision("bob"), decision(approve=False)])
def test_another_decision_afterwards_names_who_decided(again: Decide):
    with pytest.raises(Conflict, match="already approved by ada"):
        advance(advance(ASKED, decision()), again)


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_reason_is_needed(reason: str):
    with pytest.raises(InvalidInput, match="reason"):
        advance(ASKED, decision(reason=reason))
    with pytest.raises(InvalidInput, match="reason"):
        advance(ASKED, Withdraw("ada", reason, 12))


def test_it_expires_at_its_time_and_not_before():
    assert advance(ASKED, Expire(19.9)) is ASKED
    expired = advance(ASKED, Expire(20))
    assert expired.state is ApprovalState.EXPIRED
    with pytest.raises(Conflict, match="already expired"):
        advance(expired, decision())


def test_a_decision_at_the_time_of_expiry_is_too_late_even_before_the_timer_fires():
    with pytest.raises(Conflict, match="has expired"):
        advance(ASKED, decision(at=20))


def test_a_timer_after_the_decision_changes_nothing():
    ended = advance(ASKED, decision())
    assert advance(ended, Expire(30)) is ended


def test_a_withdrawn_request_takes_no_decision():
    withdrawn = advance(ASKED, Withdraw("system", "run cancelled", 13))
    assert advance(withdrawn, Withdraw("system", "run cancelled", 14)) is withdrawn
    with pytest.raises(Conflict, match="already withdrawn by system"):
        advance(withdrawn, decision())


def test_a_decision_is_not_withdrawn():
    with pytest.raises(IllegalTransition, match="approved does not take 'withdraw'"):
        advance(advance(ASKED, decision()), Withdraw("system", "run cancelled", 13))


ACTORS = st.sampled_from(["ada", "bob"])
TIMES = st.floats(0, 40)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        Decide,
        ACTORS,
        st.sampled_from([ACTION.hash, OTHER.hash]),
        st.booleans(),
        st.sampled_from(["", "x"]),
        TIMES,
    ),
    st.builds(Expire, TIMES),
    st.builds(Withdraw, ACTORS, st.sampled_from(["", "x"]), TIMES),
)


@given(st.lists(EVENTS, max_size=12))
def test_the_first_end_is_the_only_one_and_a_refusal_changes_nothing(events: list[Event]):
    approval = ASKED
    for event in events:
        before = approval
        try:
            approval = advance(approval, event)
        except AosError:
            continue
        if before.state is not ApprovalState.REQUESTED:
            assert approval is before
        if approval.state in (ApprovalState.APPROVED, ApprovalState.REJECTED):
            assert approval.ended_at is not None
            assert approval.ended_at < approval.expires_at
            assert approval.reason
        assert Approval.from_json(json.loads(json.dumps(approval.to_json()))) == approval
