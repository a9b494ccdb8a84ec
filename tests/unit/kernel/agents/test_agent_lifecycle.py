import json

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aos.kernel.agents import lifecycle
from aos.kernel.agents.lifecycle import (
    AgentInstance,
    AgentState,
    Assign,
    Assigned,
    Fail,
    Finish,
    Moved,
    Quarantine,
    Refused,
    Register,
    Release,
    Resume,
    Start,
    Started,
    Stop,
    Stopped,
    Suspend,
    advance,
    first_assignment,
)
from aos.kernel.errors import IllegalTransition, InvalidInput


def grown(*events: lifecycle.Event) -> AgentInstance:
    instance = None
    for event in events:
        instance, _ = advance(instance, event)
    assert instance is not None
    return instance


def serving(*events: lifecycle.Event, exclusive: bool = False) -> AgentInstance:
    return grown(Register("d1", exclusive), Start(), Started(), *events)


IN_STATE = {
    AgentState.REGISTERED: grown(Register("d1")),
    AgentState.STARTING: grown(Register("d1"), Start()),
    AgentState.IDLE: serving(),
    AgentState.BUSY: serving(Assign("w", 1)),
    AgentState.SUSPENDED: serving(Assign("w", 1), Suspend("audit")),
    AgentState.STOPPING: serving(Assign("w", 1), Stop()),
    AgentState.STOPPED: serving(Stop(), Stopped()),
    AgentState.FAILED: serving(Assign("w", 1), Fail("no model")),
    AgentState.QUARANTINED: serving(Assign("w", 1), Quarantine("leaked")),
}


def test_an_instance_serves_several_steps_and_is_idle_when_the_last_ends():
    busy = serving(Assign("a", 1), Assign("b", 2))
    assert (busy.state, busy.active) == (AgentState.BUSY, {"a": 1, "b": 2})
    half, _ = advance(busy, Finish("a", ok=True, at=3))
    assert half.state is AgentState.BUSY
    done, _ = advance(half, Finish("b", ok=False, at=4))
    assert (done.state, done.completed, done.failed, done.consecutive_failures) == (AgentState.IDLE, 1, 1, 1)


def test_a_success_ends_a_row_of_failures():
    instance = serving(*(event for w in "abc" for event in (Assign(w, 1), Finish(w, w == "c", 2))))
    assert (instance.failed, instance.consecutive_failures) == (2, 0)


def test_assigning_again_keeps_the_first_time():
    instance, outcome = advance(serving(Assign("a", 1)), Assign("a", 9))
    assert (instance.active, outcome) == ({"a": 1}, Assigned("a"))


def test_finishing_what_is_not_active_changes_nothing():
    before = serving(Assign("a", 1), Finish("a", True, 2))
    after, outcome = advance(before, Finish("a", False, 3))
    assert after == before
    assert outcome == Moved(AgentState.IDLE, AgentState.IDLE)


def test_an_exclusive_instance_refuses_a_second_step_and_names_the_first():
    busy = serving(Assign("a", 1), exclusive=True)
    same, outcome = advance(busy, Assign("b", 2))
    assert same is busy
    assert isinstance(outcome, Refused)
    assert "a" in outcome.reason.split()
    assert advance(busy, Assign("a", 2))[1] == Assigned("a")


@pytest.mark.parametrize("state", ["suspended", "stopping", "stopped", "failed", "quarantined"])
@pytest.mark.parametrize("work", ["w", "new"])
def test_an_instance_out_of_service_refuses_work_with_its_state_and_reason(state: str, work: str):
    instance = IN_STATE[AgentState(state)]
    same, outcome = advance(instance, Assign(work, 5))
    assert same is instance
    assert outcome == Refused(AgentState(state), instance.reason or f"the agent is {state}")


@pytest.mark.parametrize("state", ["suspended", "stopping", "failed", "quarantined"])
def test_work_under_way_may_finish_in_any_state(state: str):
    instance, _ = advance(IN_STATE[AgentState(state)], Finish("w", True, 9))
    assert (instance.state, instance.active, instance.completed) == (state, {}, 1)


@pytest.mark.parametrize(("work", "state"), [(("w",), "busy"), ((), "idle")])
def test_resuming_gives_busy_or_idle_by_the_active_work(work: tuple[str, ...], state: str):
    instance = serving(*(Assign(w, 1) for w in work), Suspend("audit"), Resume())
    assert (instance.state, instance.reason) == (state, None)


def test_a_quarantine_is_left_by_release_alone_and_then_started_anew():
    quarantined = IN_STATE[AgentState.QUARANTINED]
    for event in (Start(), Started(), Resume(), Stop(), Stopped(), Fail("x")):
        with pytest.raises(IllegalTransition):
            advance(quarantined, event)
    assert advance(quarantined, Register("d2"))[0].state is AgentState.QUARANTINED
    released, _ = advance(quarantined, Release())
    assert released.state is AgentState.REGISTERED
    assert first_assignment(released, Register("d1"), Assign("x", 2))[1] == Assigned("x")


def test_an_illegal_transition_names_the_state_the_event_and_what_is_allowed():
    with pytest.raises(IllegalTransition, match=r"stopped does not take 'resume'; it takes .*start"):
        advance(IN_STATE[AgentState.STOPPED], Resume())
    with pytest.raises(IllegalTransition, match=r"absent does not take 'start'; it takes register"):
        advance(None, Start())


def test_the_first_assignment_starts_an_absent_registered_or_starting_instance():
    for instance in (None, IN_STATE[AgentState.REGISTERED], IN_STATE[AgentState.STARTING]):
        after, outcome = first_assignment(instance, Register("d1"), Assign("w", 3))
        assert outcome == Assigned("w")
        assert after == serving(Assign("w", 3))


def test_the_first_assignment_wakes_nobody_who_was_stopped():
    stopped = IN_STATE[AgentState.STOPPED]
    assert first_assignment(stopped, Register("d1"), Assign("w", 3))[0] is stopped


def test_registering_again_adopts_the_definition_and_revives_a_stopped_or_failed_instance():
    assert advance(IN_STATE[AgentState.BUSY], Register("d2"))[0].definition == "d2"
    for state in (AgentState.STOPPED, AgentState.FAILED):
        assert advance(IN_STATE[state], Register("d2"))[0].state is AgentState.REGISTERED


def test_events_are_built_from_operation_names():
    assert lifecycle.event_named("assign", {"work": "w", "at": 1.0}) == Assign("w", 1.0)
    assert lifecycle.event_named("start") == Start()
    with pytest.raises(InvalidInput, match="no operation 'explode'"):
        lifecycle.event_named("explode")
    with pytest.raises(InvalidInput, match="assign"):
        lifecycle.event_named("assign", {"wrk": "w"})


WORK = st.sampled_from(["a", "b", "c", "d"])
EVENTS_BY_NAME: dict[str, st.SearchStrategy[lifecycle.Event]] = {
    "register": st.builds(Register, st.sampled_from(["d1", "d2"]), st.booleans()),
    "assign": st.builds(Assign, WORK, st.floats(0, 9)),
    "finish": st.builds(Finish, WORK, st.booleans(), st.floats(0, 9)),
    "start": st.just(Start()),
    "started": st.just(Started()),
    "resume": st.just(Resume()),
    "release": st.just(Release()),
    "stop": st.just(Stop()),
    "stopped": st.just(Stopped()),
    "suspend": st.just(Suspend("s")),
    "quarantine": st.just(Quarantine("q")),
    "fail": st.just(Fail("f")),
}
EVENTS = st.one_of(*EVENTS_BY_NAME.values())


class AnyLife(RuleBasedStateMachine):
    """Whatever happens in whatever order, an instance keeps its promises."""

    instance: AgentInstance | None = None

    @rule(event=EVENTS)
    def any_event(self, event: lifecycle.Event) -> None:
        self._apply(event)

    @precondition(lambda self: self.instance is not None)
    @rule(data=st.data())
    def allowed_event(self, data: st.DataObject) -> None:
        names = lifecycle.allowed_events(self.instance.state if self.instance else None)
        event = data.draw(st.one_of(*(EVENTS_BY_NAME[name] for name in sorted(names))))
        assert self._apply(event), "an event said to be allowed was refused"

    def _apply(self, event: lifecycle.Event) -> bool:
        before = self.instance
        try:
            self.instance, outcome = advance(before, event)
        except IllegalTransition:
            return False
        if isinstance(outcome, Assigned):
            assert outcome.work in self.instance.active
        if isinstance(outcome, Refused):
            assert self.instance is before
        if isinstance(outcome, Moved) and before is not None:
            assert set(self.instance.active) <= set(before.active)
        if before is not None and before.state is AgentState.QUARANTINED:
            assert self.instance.state is AgentState.QUARANTINED or isinstance(event, Release)
        return True

    @invariant()
    def busy_exactly_while_serving_work(self) -> None:
        if self.instance and self.instance.state in (AgentState.IDLE, AgentState.BUSY):
            assert (self.instance.state is AgentState.BUSY) == bool(self.instance.active)

    @invariant()
    def survives_json(self) -> None:
        if self.instance:
            assert AgentInstance.from_json(json.loads(json.dumps(self.instance.to_json()))) == self.instance


TestAnyLife = AnyLife.TestCase
TestAnyLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
