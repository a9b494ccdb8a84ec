from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from aos.cli.demo.outcome import Outcome, differences, read_dossier

LAUNCH = {"vendor_confirmed": True, "launch_date": "2027-03-01", "earliest_start": "2027-02-01"}
REVIEWED = dict.fromkeys(("finance", "technology", "decide"), "completed")
SPENT = ("board", "reserve", "launch")


def outcome(name: str, decision: str, status: str, states: dict[str, str], **more: Any) -> Outcome:
    steps = [{"id": step, "state": state} for step, state in (REVIEWED | states).items()]
    run = {"status": status, "steps": steps, "compensations": more.pop("compensations", [])}
    launch = LAUNCH | more.pop("launch", {})
    return Outcome(name, {"launch": launch}, run, {"decision": decision}, ("mock mock",), {}, 50, **more)


def launched() -> Outcome:
    return outcome("warehouse-automation", "approve", "completed", dict.fromkeys(SPENT, "completed"))


def turned_down() -> Outcome:
    return outcome("loyalty-platform", "reject", "completed", dict.fromkeys(SPENT, "skipped"))


def undone(**changes: Any) -> Outcome:
    states = {"board": "completed", "reserve": "completed", "launch": "failed"}
    details: dict[str, Any] = {
        "compensations": [{"step": "reserve", "state": "completed"}],
        "launch": {"vendor_confirmed": False},
    }
    return outcome("battery-storage", "approve", "failed", states, **(details | changes))


@pytest.mark.parametrize("good", [launched(), turned_down(), undone()], ids=lambda each: each.name)
def test_what_should_come_out_is_accepted(good: Outcome) -> None:
    assert [*differences(good, mock=True)] == []


def test_another_decision_is_named_with_the_mock_but_a_models_own_choice() -> None:
    changed = dataclasses.replace(turned_down(), name="warehouse-automation")

    assert [*differences(changed, mock=True)] == ["the decision is reject, not approve"]
    assert [*differences(changed, mock=False)] == []


def test_funds_that_stay_reserved_after_a_failed_launch_are_named() -> None:
    assert [*differences(undone(compensations=[]), mock=True)] == ["compensations are none"]


def test_spending_on_a_rejected_proposal_is_named() -> None:
    spent = outcome("loyalty-platform", "reject", "completed", dict.fromkeys(SPENT, "completed"))

    assert [*differences(spent, mock=False)] == [f"step {step} is completed, not skipped" for step in SPENT]


def test_a_refused_dossier_is_named() -> None:
    refused = dataclasses.replace(launched(), refusal="Record 3 was changed.")

    assert [*differences(refused, mock=True)] == ["its dossier is refused: Record 3 was changed."]


def test_a_launch_that_its_dates_forbid_is_expected_to_fail() -> None:
    late = undone(launch={"vendor_confirmed": True, "launch_date": "2027-01-31"})

    assert [*differences(late, mock=True)] == []


def test_a_dossier_tells_the_figures_the_models_and_what_was_done() -> None:
    def line(kind: str, subject: dict[str, Any], payload: Any) -> bytes:
        return json.dumps({"leaf": {"type": kind, "subject": subject}, "payload": payload}).encode()

    said = {"provider": "openai", "model": "m-1"}
    dossier = b"\n".join([
        b'{"format":"aos-dossier/1"}',
        line("model.replied", said, {"reply": {"text": None}}),
        line("model.replied", said, {"reply": {"text": '```json\n{"npv_usd": 5}```'}}),
        line("model.replied", said, {"reply": {"text": '{"decision": "approve"}'}}),
        line("model.replied", {"provider": "mock", "model": "mock"}, {"reply": {"text": None}}),
        line("effect.settled", {"step": "reserve"}, {"ok": True, "value": {"reserved_usd": 7}}),
        line("effect.settled", {"step": "launch"}, {"ok": False, "value": {"error": "no"}}),
        json.dumps({"leaf": {"type": "model.erased", "subject": {}}}).encode(),
        b'{"checkpoint":""}',
    ])  # fmt: skip

    answers, models, calls = read_dossier(dossier)

    assert answers == {"npv_usd": 5, "decision": "approve"}
    assert models == ("openai m-1", "mock")
    assert calls == {"reserve": {"reserved_usd": 7}}
