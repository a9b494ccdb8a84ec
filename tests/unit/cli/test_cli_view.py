from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from aos.cli.output import clean, one_line
from aos.cli.view import action_text, changes, money, span, stages, took


def step(name: str, state: str = "waiting", needs: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return {
        "id": name, "kind": "tool", "agent": None, "tool": f"{name}-tool", "needs": list(needs),
        "state": state, "attempt": 0, "started_at": None, "ended_at": None, "cost_usd": 0.0, "reason": None,
    } | more  # fmt: skip


def run(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "r1", "steps": list(steps), "approvals": [], "effects": [], "compensations": []} | more


def approval(state: str, **more: Any) -> dict[str, Any]:
    action = {"kind": "tool.call", "name": "pay", "arguments": {"usd": 5}}
    return {
        "step": "board", "role": "board", "state": state, "prompt": "Pay?", "action": action, "actor": None,
        "reason": None,
    } | more  # fmt: skip


@pytest.mark.parametrize(
    ("usd", "text"),
    [(0, "$0"), (0.00001, "<$0.0001"), (0.0064, "$0.0064"), (1234.5, "$1,234.50")],
)
def test_money_is_never_shown_as_nothing_when_it_is_something(usd: float, text: str) -> None:
    assert money(usd) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (61, "1 min 1 s"), (3725, "1 h 2 min"), (90_000, "1 d 1 h")],
)
def test_a_duration_has_the_unit_that_people_would_use(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_what_has_not_ended_took_until_now_and_never_less_than_nothing() -> None:
    part = {"started_at": "2026-01-31T12:00:00.000Z", "ended_at": None}

    assert took(part, datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC)) == "5.0 s"
    assert took(part, datetime(2026, 1, 31, 11, 0, 0, tzinfo=UTC)) == "0.0 s"  # clocks differ
    assert took({"started_at": None, "ended_at": None}) == ""


def test_steps_that_can_run_side_by_side_share_a_stage() -> None:
    steps = [
        step("c", needs=("a", "b")),
        step("a"),
        step("b"),
        step("d", needs=("a",)),
        step("e", needs=("c",)),
    ]

    assert [[each["id"] for each in stage] for stage in stages(steps)] == [["a", "b"], ["c", "d"], ["e"]]


def test_steps_of_a_newer_server_that_need_unknown_ones_are_still_shown() -> None:
    assert [[each["id"] for each in stage] for stage in stages([step("a", needs=("gone",))])] == [["a"]]


def test_only_what_changed_is_said() -> None:
    before = run(step("a", "running", attempt=1), step("b"))
    after = run(step("a", "completed", attempt=1, cost_usd=0.5), step("b", "running", attempt=1))

    lines = [line.split() for line in changes(before, after)]

    assert lines == [["a", "a-tool", "completed", "$0.5000"], ["b", "b-tool", "running"]]
    assert [*changes(after, after)] == []


def test_a_second_attempt_is_said_although_the_state_is_the_same() -> None:
    before, after = run(step("a", "running", attempt=1)), run(step("a", "running", attempt=2))

    assert [line.split() for line in changes(before, after)] == [["a", "a-tool", "running", "attempt", "2"]]


def test_an_approval_is_told_with_how_to_give_it_and_then_who_gave_it() -> None:
    waiting = run(step("board", "awaiting_approval"), approvals=[approval("requested")])
    done = run(step("board", "completed"), approvals=[approval("approved", actor="user:ada", reason="fine")])

    asked, told = "\n".join(changes(None, waiting)), "\n".join(changes(waiting, done))

    assert "Pay?" in asked
    assert "aos approve r1 board" in asked
    assert "approved by user:ada: fine" in told
    assert "aos approve" not in told


def test_an_unknown_effect_is_told_once_with_how_to_resolve_it() -> None:
    lost = [{"id": "e1", "step": "a", "kind": "once", "state": "unknown", "note": "it broke"}]
    parked = run(step("a", "parked"), effects=lost)

    assert "aos resolve r1 e1 --happened|--not-happened" in "\n".join(changes(None, parked))
    assert [*changes(parked, parked)] == []


def test_a_compensation_is_told() -> None:
    undo = {
        "step": "a", "tool": "undo-a", "state": "completed", "attempt": 1, "started_at": None,
        "ended_at": None, "reason": None,
    }  # fmt: skip

    assert [line.split() for line in changes(run(), run(compensations=[undo]))] == [
        ["undo", "a", "undo-a", "completed"]
    ]


def test_an_action_is_shown_whole() -> None:
    arguments = {"text": "x" * 5000, "usd": 5}

    assert "x" * 5000 in action_text({"kind": "tool.call", "name": "pay", "arguments": arguments})


def test_text_loses_what_a_terminal_could_obey() -> None:
    text = "a\x1b[2Kb\rc\u202ed\u200be\x9bf\ud800g\nh"

    assert clean(text) == "a\ufffd[2Kb\ufffdc\ufffdd\ufffde\ufffdf\ufffdg\nh"
    assert one_line("a\n  b\tc") == "a b c"
