"""An attempt of a step leaves nothing held, and nothing in doubt, wherever it is cut off."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from durabletask.entities import EntityInstanceId
from durabletask.task import RetryPolicy
from hub import Hub, open_hub

from aos.functions import step_shell

WORK: dict[str, Any] = {
    "run": "r1",
    "step": "a",
    "attempt": 2,
    "compensation": False,
    "progress": {},
    "final": False,
    "timeout_s": 100.0,
    "tenant": "t",
    "budgets": [{"key": "t.run-r1", "limit": 100}],
    "asked_at": 1.0,
}
READY = {
    "result": "ready",
    "reason": None,
    "agent": "clerk",
    "agent_definition": "d",
    "reserve_micro_usd": 60,
    "facts": [],
}
PARKED = {"result": "parked", "reason": "nobody knows", "cost_micro_usd": 7, "facts": ["unknown"]}


class Steps:
    """The activities: what preparing gives, and what was asked."""

    def __init__(self, prepared: Any) -> None:
        self.prepared = prepared
        self.asked: list[str] = []
        self.closed: list[str] = []

    def __call__(self, name: str) -> Any:
        def act(given: Any) -> Any:
            self.asked.append(name)
            if name == "prepare_step":
                if isinstance(self.prepared, Exception):
                    raise self.prepared
                return self.prepared
            if name == "close_step":
                self.closed.append(given["reason"])
            return PARKED if name == "read_result" else None

        return act

    def hub(self) -> Any:
        names = ("prepare_step", "dispatch_step", "read_result", "expire_step", "close_step")
        return open_hub({name: self(name) for name in names})


def state(hub: Hub, entity: str, key: str, wanted: Any) -> dict[str, Any]:
    """The entity's state once it is as wanted: signals take their time."""
    until = time.monotonic() + 10
    while True:
        found = hub.client.get_entity(EntityInstanceId(entity, key))
        value = (found.get_typed_state(dict) or {}) if found else {}
        if wanted(value) or time.monotonic() > until:
            return value
        time.sleep(0.02)


def ledger(hub: Hub) -> dict[str, Any]:
    """The run's ledger, when nothing is held any more."""
    return state(hub, "budget", "t.run-r1", lambda value: value and not value["held"])


@pytest.mark.parametrize(
    "prepared",
    [READY | {"reserve_micro_usd": 101}, READY | {"result": "failed", "reason": "denied"}, OSError("out")],
    ids=["over budget", "denied", "not prepared"],
)
def test_a_later_attempt_that_cannot_begin_finds_out_what_the_earlier_one_left(
    prepared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = RetryPolicy(first_retry_interval=timedelta(seconds=0), max_number_of_attempts=1)
    monkeypatch.setattr(step_shell, "PATIENT", once)
    steps = Steps(prepared)
    with steps.hub() as hub:
        outcome = hub.run("agent_step", WORK)
    assert (outcome["result"], outcome["cost_micro_usd"]) == ("parked", 7)
    assert {"row": "unknown"} in outcome["facts"]
    assert len(steps.closed) == 1


def test_a_first_attempt_that_cannot_begin_left_nothing_behind() -> None:
    steps = Steps(READY | {"reserve_micro_usd": 101})
    with steps.hub() as hub:
        outcome = hub.run("agent_step", WORK | {"attempt": 1})
    assert outcome["result"] == "failed"
    assert steps.asked == ["prepare_step"]


@pytest.mark.parametrize("agent", ["clerk", "stopped"])
def test_an_agent_that_takes_no_work_gives_the_reservation_back(agent: str) -> None:
    steps = Steps(READY | {"agent": agent})
    with steps.hub() as hub:
        if agent == "clerk":  # it has an error to answer with: a definition that is no text
            steps.prepared |= {"agent_definition": None}
        entity = EntityInstanceId("agent", f"t.{agent}")
        for operation, given in (("register", {"definition": "d"}), ("stop", {}), ("stopped", {})):
            hub.client.signal_entity(entity, operation, given)
        outcome = hub.run("agent_step", WORK | {"attempt": 1})
        assert outcome["result"] == "failed"
        assert ledger(hub)["held"] == {}


def test_a_step_settles_what_it_cost_and_its_agent_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_shell, "FIRST_POLL_S", 0.1)
    steps = Steps(READY)
    with steps.hub() as hub:
        outcome = hub.run("agent_step", WORK)
        assert outcome["result"] == "parked"
        assert (ledger(hub)["spent"], ledger(hub)["held"]) == (7, {})
        assert state(hub, "agent", "t.clerk", lambda value: value["state"] == "idle")["completed"] == 0


def test_an_end_that_is_not_due_yet_by_the_worker_s_clock_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(step_shell, "FIRST_POLL_S", 0.1)
    ends = iter([1.0, 1.0, None])  # long past by the orchestrator's clock, and not by the worker's
    ended: list[float] = []

    def expire(_: Any) -> float | None:
        ended.append(time.monotonic())
        return next(ends)

    activities = {name: Steps(READY)(name) for name in ("prepare_step", "dispatch_step")}
    answers = {"expire_step": expire, "read_result": lambda _: PARKED if len(ended) == 3 else None}
    with open_hub(activities | answers) as hub:
        assert hub.run("agent_step", WORK | {"timeout_s": 0.2})["result"] == "parked"
    assert ended[2] - ended[0] > 1.5 * step_shell.PAUSE_S
