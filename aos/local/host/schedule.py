"""When a timer fires: NCRONTAB expressions of six (or five) fields, and constant intervals.

Moments are in UTC; expressions speak of the wall clock of a time zone.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo

from aos.local.host.jsonsection import timespan_s

_MONTHS = {
    name: i + 1
    for i, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
    )
}
_DAYS = {name: i for i, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_FIELDS = (
    ("second", 0, 59),
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day", 1, 31),
    ("month", 1, 12),
    ("weekday", 0, 6),
)
_ITEM = re.compile(r"(?P<low>\*|\w+)(?:-(?P<high>\w+))?(?:/(?P<step>\d+))?")
_NEVER = "the schedule never fires"
_SEARCH_LIMIT = timedelta(days=366 * 8 + 2)  # 29 February of a year ending a century without one


class Schedule(Protocol):
    """Says when to fire next."""

    def next_after(self, moment: datetime) -> datetime:
        """The first occurrence later than `moment`."""
        ...

    @property
    def is_frequent(self) -> bool:
        """True when it fires more than once a minute: then Azure does not keep its status."""
        ...

    @property
    def follows_clock(self) -> bool:
        """True when it speaks of the wall clock, which summer time moves."""
        ...


@dataclass(frozen=True, slots=True)
class Cron:
    """An NCRONTAB expression: the allowed values of each field, seconds first.

    One that `repeats` (by `*`, `-` or `/` in its seconds, minutes or hours) goes on through an hour that
    the clock repeats when summer ends; any other fires once in that hour. What falls into the hour that
    is left out when summer begins fires an hour later.
    """

    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    repeats: bool = False
    zone: tzinfo = UTC
    follows_clock = True

    def next_after(self, moment: datetime) -> datetime:
        """The first occurrence later than `moment` (day and weekday must both fit, as in NCRONTAB)."""
        return self._next_of_many(moment) if self.repeats else self._next_of_few(moment)

    @property
    def is_frequent(self) -> bool:
        """True when it fires more than once in every minute."""
        minutely = (self.minutes, self.hours, self.days, self.months, self.weekdays)
        always = all(
            len(values) == most - least + 1
            for values, (_, least, most) in zip(minutely, _FIELDS[1:], strict=True)
        )
        return always and len(self.seconds) > 1

    def _next_of_many(self, moment: datetime) -> datetime:
        """By instants, whose reading on the wall clock is looked at."""
        at = moment.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
        limit = at + _SEARCH_LIMIT
        while at < limit:
            wall = at.astimezone(self.zone)
            if not self._day_fits(wall):
                tomorrow = wall.date() + timedelta(days=1)
                at = datetime.combine(tomorrow, time(), self.zone).astimezone(UTC)
            elif step := self._step(wall):
                at += step
            else:
                return at
        raise ValueError(_NEVER)

    def _next_of_few(self, moment: datetime) -> datetime:
        """By readings of the wall clock, which are then placed in time."""
        wall = moment.astimezone(self.zone).replace(tzinfo=None, fold=0, microsecond=0)
        limit = wall + _SEARCH_LIMIT
        while True:
            wall = self._next_reading(wall, limit)
            at = wall.replace(tzinfo=self.zone).astimezone(UTC)
            if at > moment:
                return at

    def _next_reading(self, wall: datetime, limit: datetime) -> datetime:
        wall += timedelta(seconds=1)
        while wall < limit:
            if not self._day_fits(wall):
                wall = datetime.combine(wall.date() + timedelta(days=1), time())
            elif step := self._step(wall):
                wall += step
            else:
                return wall
        raise ValueError(_NEVER)

    def _step(self, wall: datetime) -> timedelta:
        """How far to go on a day that fits from a reading that does not; nothing when it does."""
        if wall.hour not in self.hours:
            return timedelta(hours=1) - timedelta(minutes=wall.minute, seconds=wall.second)
        if wall.minute not in self.minutes:
            return timedelta(minutes=1) - timedelta(seconds=wall.second)
        return timedelta(seconds=0 if wall.second in self.seconds else 1)

    def _day_fits(self, wall: datetime) -> bool:
        weekday = wall.isoweekday() % 7
        return wall.month in self.months and wall.day in self.days and weekday in self.weekdays


@dataclass(frozen=True, slots=True)
class Interval:
    """A constant interval, `hh:mm:ss`."""

    every: timedelta
    follows_clock = False

    @property
    def is_frequent(self) -> bool:
        """True when it fires more than once a minute."""
        return self.every < timedelta(minutes=1)

    def next_after(self, moment: datetime) -> datetime:
        """`moment` plus the interval."""
        return moment + self.every


def parse_schedule(text: str, zone: tzinfo = UTC) -> Schedule:
    """The schedule that a timer trigger declares; `ValueError` says what is wrong."""
    interval_s = timespan_s(text.strip())
    if interval_s is not None:
        if interval_s <= 0:
            raise ValueError("the interval must be longer than zero")
        return Interval(timedelta(seconds=interval_s))
    fields = text.split()
    if len(fields) == len(_FIELDS) - 1:
        fields.insert(0, "0")
    if len(fields) != len(_FIELDS):
        raise ValueError(
            f"an NCRONTAB expression has 6 fields (or 5 without seconds), this has {len(fields)}"
        )
    seconds, minutes, hours, days, months, weekdays = (
        _values(field, *spec) for field, spec in zip(fields, _FIELDS, strict=True)
    )
    repeats = any(set("*-/") & set(field) for field in fields[:3])
    schedule = Cron(seconds, minutes, hours, days, months, weekdays, repeats, zone)
    schedule.next_after(datetime.now(UTC))  # one that never fires is told at start
    return schedule


def time_zone(name: str | None) -> tzinfo:
    """The zone of WEBSITE_TIME_ZONE, UTC when it is not set; `ValueError` when there is no such zone."""
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is not a time zone such as Europe/Vienna") from error


def _values(text: str, name: str, least: int, most: int) -> frozenset[int]:
    values: set[int] = set()
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"{item!r} is not a {name}")
        step = int(match["step"] or 1)
        if match["low"] == "*":
            low, high = least, most
        else:
            low = _number(match["low"], name, least, most)
            high = (
                _number(match["high"], name, least, most)
                if match["high"]
                else (most if match["step"] else low)
            )
        if step < 1 or low > high:
            raise ValueError(f"{item!r} is not a range of {name}s")
        values.update(range(low, high + 1, step))
    return frozenset(values)


def _number(text: str, name: str, least: int, most: int) -> int:
    names = {"month": _MONTHS, "weekday": _DAYS}.get(name, {})
    named = names.get(text.lower()[:3]) if text.isalpha() else None
    value = named if named is not None else int(text) if text.isdigit() else -1
    if name == "weekday" and value == 7:
        return 0
    if not least <= value <= most:
        raise ValueError(f"{text!r} is not a {name} between {least} and {most}")
    return value
