"""The timers' status on disk, and schedules that make no sense."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aos.local.host.errors import HostError
from aos.local.host.timers import Status, TimerStatus

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
