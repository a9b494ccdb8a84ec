"""When a timer fires: NCRONTAB expressions of six (or five) fields, and constant intervals. All in UTC."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from aos.local.host.hostjson import timespan_s

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
_SEARCH_LIMIT = timedelta(days=366 * 8 + 2)  # 29 February of a year ending a century without one


class Schedule(Protocol):
    """Says when to fire next."""

    def next_after(self, moment: datetime) -> datetime:
        """The first occurrence later than `moment`."""
        ...


@dataclass(frozen=True, slots=True)
class Cron:
    """An NCRONTAB expression: the allowed values of each field, seconds first."""

    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    def next_after(self, moment: datetime) -> datetime:
        """The first occurrence later than `moment` (day and weekday must both fit, as in NCRONTAB)."""
        at = moment.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
        limit = at + _SEARCH_LIMIT
        while at < limit:
            if not self._day_fits(at):
                at = at.replace(hour=0, minute=0, second=0) + timedelta(days=1)
            elif at.hour not in self.hours:
                at = at.replace(minute=0, second=0) + timedelta(hours=1)
            elif at.minute not in self.minutes:
                at = at.replace(second=0) + timedelta(minutes=1)
            elif at.second not in self.seconds:
                at += timedelta(seconds=1)
            else:
                return at
        raise ValueError("the schedule never fires")

    def _day_fits(self, at: datetime) -> bool:
        weekday = at.isoweekday() % 7
        return at.month in self.months and at.day in self.days and weekday in self.weekdays


@dataclass(frozen=True, slots=True)
class Interval:
    """A constant interval, `hh:mm:ss`."""

    every: timedelta

    def next_after(self, moment: datetime) -> datetime:
        """`moment` plus the interval."""
        return moment + self.every


def parse_schedule(text: str) -> Schedule:
    """The schedule that a timer trigger declares; `ValueError` says what is wrong."""
    seconds = timespan_s(text.strip())
    if seconds is not None:
        if seconds <= 0:
            raise ValueError("the interval must be longer than zero")
        return Interval(timedelta(seconds=seconds))
    fields = text.split()
    if len(fields) == len(_FIELDS) - 1:
        fields.insert(0, "0")
    if len(fields) != len(_FIELDS):
        raise ValueError(
            f"an NCRONTAB expression has 6 fields (or 5 without seconds), this has {len(fields)}"
        )
    return Cron(*(_values(field, *spec) for field, spec in zip(fields, _FIELDS, strict=True)))


def is_frequent(schedule: Schedule, moment: datetime) -> bool:
    """True when it fires more than once a minute: then Azure does not keep its status."""
    first = schedule.next_after(moment)
    return schedule.next_after(first) - first < timedelta(minutes=1)


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
