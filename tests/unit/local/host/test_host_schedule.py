"""When timers fire."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aos.local.host.schedule import parse_schedule, time_zone

START = datetime(2026, 2, 27, 10, 20, 30, 500_000, UTC)  # a Friday


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("* * * * * *", "2026-02-27T10:20:31"),
        ("*/5 * * * * *", "2026-02-27T10:20:35"),
        ("* * * * *", "2026-02-27T10:21:00"),
        ("0 */5 * * * *", "2026-02-27T10:25:00"),
        ("0 0 * * * *", "2026-02-27T11:00:00"),
        ("0 30 9 * * *", "2026-02-28T09:30:00"),
        ("0 30 9 * * 1-5", "2026-03-02T09:30:00"),
        ("0 0 0 * * sun", "2026-03-01T00:00:00"),
        ("0 0 0 * * 7", "2026-03-01T00:00:00"),
        ("0 0 0 31 * *", "2026-03-31T00:00:00"),
        ("0 0 0 29 2 *", "2028-02-29T00:00:00"),
        ("0 0 0 1 jan *", "2027-01-01T00:00:00"),
        ("0 0 0 1 January mon", "2029-01-01T00:00:00"),
        ("15,45 20 10 * * *", "2026-02-27T10:20:45"),
        ("0 10/20 * * * *", "2026-02-27T10:30:00"),
        ("0 0-10/5 11 * * *", "2026-02-27T11:00:00"),
        ("00:05:00", "2026-02-27T10:25:30.500000"),
        ("1.00:00:00", "2026-02-28T10:20:30.500000"),
    ],
)
def test_the_next_occurrence(text: str, expected: str) -> None:
    assert parse_schedule(text).next_after(START) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "every minute",
        "* * * *",
        "60 * * * * *",
        "* * * 0 * *",
        "* * * * 13 *",
        "*/0 * * * * *",
        "5-1 * * * * *",
        "* * * * * funday",
        "1-2-3 * * * * *",
        "00:00:00",
        "-5 * * * * *",
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_schedule(text)


def test_a_day_that_never_comes_is_an_error_instead_of_an_endless_search() -> None:
    with pytest.raises(ValueError, match="never fires"):
        parse_schedule("0 0 0 31 2 *")


@pytest.mark.parametrize(
    ("text", "frequent"),
    [
        ("*/30 * * * * *", True),
        ("0 * * * * *", False),
        ("*/10 * 9 * * *", False),
        ("00:00:59", True),
        ("00:01:00", False),
    ],
)
def test_only_schedules_of_a_minute_or_more_keep_a_status(text: str, frequent: bool) -> None:
    assert parse_schedule(text).is_frequent is frequent


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("0 30 9 * * *", "2026-07-01T00:00-07:00", ["2026-07-01T09:30-07:00"]),
        ("0 0 0 * * mon", "2026-01-04T20:00-08:00", ["2026-01-05T00:00-08:00"]),
        # Summer begins: from two to three o'clock is left out.
        ("0 30 2 * * *", "2026-03-08T00:00-08:00", ["2026-03-08T03:30-07:00", "2026-03-09T02:30-07:00"]),
        ("0 */30 * * * *", "2026-03-08T01:15-08:00", ["2026-03-08T01:30-08:00", "2026-03-08T03:00-07:00"]),
        # Summer ends: from one to two o'clock comes twice.
        ("0 30 1 * * *", "2026-11-01T00:00-07:00", ["2026-11-01T01:30-07:00", "2026-11-02T01:30-08:00"]),
        ("0 30 1 * * *", "2026-11-01T01:00-08:00", ["2026-11-02T01:30-08:00"]),
        (
            "0 */30 * * * *",
            "2026-11-01T01:30-07:00",
            ["2026-11-01T01:00-08:00", "2026-11-01T01:30-08:00", "2026-11-01T02:00-08:00"],
        ),
    ],
)
def test_schedules_follow_the_clock_of_their_time_zone(text: str, after: str, expected: list[str]) -> None:
    schedule = parse_schedule(text, time_zone("America/Los_Angeles"))
    moment = datetime.fromisoformat(after)
    for occurrence in expected:
        moment = schedule.next_after(moment)
        assert moment == datetime.fromisoformat(occurrence)


@pytest.mark.parametrize("name", ["Mars/Olympus", "../etc/passwd", "Eastern Standard Time"])
def test_an_unknown_time_zone_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone such as Europe/Vienna"):
        time_zone(name)


TIMES = st.tuples(st.integers(0, 59), st.integers(0, 59), st.integers(0, 23))
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))


@given(TIMES, MOMENTS)
def test_a_daily_schedule_fires_within_a_day_at_its_time(time: tuple[int, int, int], start: datetime) -> None:
    second, minute, hour = time
    following = parse_schedule(f"{second} {minute} {hour} * * *").next_after(start)
    assert timedelta(0) < following - start <= timedelta(days=1)
    assert (following.hour, following.minute, following.second) == (hour, minute, second)
