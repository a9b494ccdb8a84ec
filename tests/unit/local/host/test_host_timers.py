"""The timers' status on disk, and schedules that make no sense."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aos.local.host.errors import HostError
from aos.local.host.schedule import Schedule, parse_schedule
from aos.local.host.timers import Status, TimerStatus, recall

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_a_status_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    nightly, hourly = Status(None, NOON, NOON), Status(NOON, NOON, NOON)
    TimerStatus(tmp_path / "timers.json").put("nightly", nightly)
    TimerStatus(tmp_path / "timers.json").put("hourly", hourly)
    status = TimerStatus(tmp_path / "timers.json")
    assert status.of("nightly") == nightly
    assert status.of("hourly") == hourly
    assert status.of("never seen") is None
    assert [path.name for path in tmp_path.iterdir()] == ["timers.json"]


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"nightly": {"last": "yesterday"}})])
def test_a_status_file_that_cannot_be_read_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "timers.json").write_text(content)
    with pytest.raises(HostError, match=r"timers\.json"):
        TimerStatus(tmp_path / "timers.json").of("nightly")


DAILY = parse_schedule("0 0 3 * * *")
HOURLY = parse_schedule("01:00:00")
LAST = NOON - timedelta(days=2)


@pytest.mark.parametrize(
    ("known", "schedule", "due", "last", "overdue"),
    [
        (None, DAILY, NOON + timedelta(hours=15), None, False),
        # It ran two days ago and was due yesterday.
        (Status(LAST, DAILY.next_after(LAST), LAST), DAILY, NOON - timedelta(hours=33), LAST, True),
        # It never ran, and is not due yet.
        (Status(None, DAILY.next_after(NOON), NOON), DAILY, NOON + timedelta(hours=15), None, False),
        # It was hourly when it was written down: what a daily one would have missed does not count.
        (Status(LAST, HOURLY.next_after(LAST), LAST), DAILY, NOON + timedelta(hours=15), None, False),
        # It was daily and is hourly: the hour counts from when it last ran.
        (
            Status(NOON - timedelta(minutes=10), NOON + timedelta(hours=15), NOON),
            HOURLY,
            NOON + timedelta(minutes=50),
            None,
            False,
        ),
    ],
)
def test_a_timer_goes_on_where_it_was_unless_its_schedule_is_another(
    known: Status | None, schedule: Schedule, due: datetime, last: datetime | None, overdue: bool
) -> None:
    status, late = recall(known, schedule, NOON)
    assert (status.due, status.last, late) == (due, last, overdue)
