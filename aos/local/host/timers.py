"""Timer triggers: one run at a time, and a status on disk so that a missed tick is made up for."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from aos.local.host.calls import WorkerLostError
from aos.local.host.errors import HostError
from aos.local.host.files import replace_file
from aos.local.host.functions import Function
from aos.local.host.retries import Retry, RetryPolicy
from aos.local.host.schedule import Schedule, parse_schedule
from aos.local.host.settings import read_json_object
from aos.local.host.supervisor import Supervisor

_LONGEST_SLEEP_S = 30.0  # the wall clock may be set or the machine sleep: look again at least this often


@dataclass(frozen=True, slots=True)
class Status:
    """When a timer last ran (if it did), is due next, and since when that is known."""

    last: datetime | None
    due: datetime
    updated: datetime


class TimerStatus:
    """The timers' statuses, kept in one JSON file that is replaced atomically."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, Any] = read_json_object(path) if path.exists() else {}

    def of(self, name: str) -> Status | None:
        """What is known of a timer."""
        entry = self._entries.get(name)
        if not isinstance(entry, Mapping):
            return None
        try:
            last = entry.get("last")
            since = entry.get("updated") or last
            due, updated = (datetime.fromisoformat(str(moment)) for moment in (entry["next"], since))
            return Status(datetime.fromisoformat(str(last)) if last else None, due, updated)
        except (KeyError, ValueError) as error:
            raise HostError(f"{self._path}: the entry of {name} is not a timer's status ({error})") from error

    def put(self, name: str, status: Status) -> None:
        """Write the status down before anything relies on it."""
        self._entries[name] = {
            "last": status.last.isoformat() if status.last else None,
            "next": status.due.isoformat(),
            "updated": status.updated.isoformat(),
        }
        try:
            replace_file(self._path, json.dumps(self._entries, indent=1))
        except OSError as error:
            raise HostError(f"cannot write {self._path}: {error.strerror}", code=1) from error


class Timers:
    """Every timer of the app."""

    def __init__(
        self,
        functions: Iterable[Function],
        path: Path,
        zone: tzinfo,
        supervisor: Supervisor,
        retry: RetryPolicy | None,
    ) -> None:
        status, self._paused = TimerStatus(path), asyncio.Event()
        self._supervisor = supervisor
        self._timers = {
            each.name: Timer(each, zone, status, supervisor, paused=self._paused, retry=each.retry or retry)
            for each in functions
        }
        self._tasks: list[asyncio.Task[None]] = []

    def occasion(self, function: Function) -> bytes:
        """What a timer function is given when it is run by hand."""
        return self._timers[function.name].occasion(past_due=False)

    def start(self) -> None:
        """Begin to fire."""
        self._tasks = [self._supervisor.spawn(timer.run()) for timer in self._timers.values()]

    def pause(self) -> None:
        """Fire no more; a run under way goes on."""
        self._paused.set()

    async def close(self) -> None:
        """Forget the runs that did not end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Timer:
    """One timer function and its schedule."""

    def __init__(
        self,
        function: Function,
        zone: tzinfo,
        status: TimerStatus,
        supervisor: Supervisor,
        *,
        paused: asyncio.Event,
        retry: RetryPolicy | None,
    ) -> None:
        self._paused = paused
        self._retry = retry
        self._function = function
        self._zone = zone
        self._kept = status
        self._supervisor = supervisor
        self._schedule = _schedule(function, zone)
        self._monitored = (
            function.properties.get("useMonitor") is not False and not self._schedule.is_frequent
        )
        self._status = fresh(self._schedule, datetime.now(UTC))

    async def run(self) -> None:
        """Fire until paused: when overdue, at start if asked for, and on schedule."""
        known = self._kept.of(self._function.name) if self._monitored else None
        self._status, overdue = recall(known, self._schedule, datetime.now(UTC))
        if self._status is not known:
            self._remember(self._status)
        if overdue or self._function.properties.get("runOnStartup"):
            await self._fire(past_due=overdue)
        while await self._sleep_until(self._status.due):
            await self._fire(past_due=False)

    def occasion(self, *, past_due: bool) -> bytes:
        """What the function is given: the schedule, its status when that is kept, whether it is late."""
        status = self._status
        known = {
            "Last": self._text(status.last),
            "LastUpdated": self._text(status.updated if status.last else None),
            "Next": self._text(status.due),
        }
        occasion = {
            "Schedule": {"AdjustForDST": self._schedule.follows_clock},
            "ScheduleStatus": known if self._monitored else None,
            "IsPastDue": past_due,
        }
        return json.dumps(occasion).encode()

    async def _fire(self, *, past_due: bool) -> None:
        """Run the function, and know when it is due next: at once if that passed meanwhile."""
        started = datetime.now(UTC)
        try:
            ended = await self._run(self.occasion(past_due=past_due))
        except WorkerLostError:
            ended = False
            if not self._paused.is_set():
                self._supervisor.say(
                    f"timer {self._function.name}: the run was lost with its worker; running it again"
                )
                await self._fire(past_due=past_due)
                return
        if ended:  # else it is still on record as due: the next host makes up for it
            self._remember(Status(started, self._schedule.next_after(started), started))

    async def _run(self, payload: bytes) -> bool:
        """Run the function, and again as its retry policy has it; false when it was paused before the end."""
        policy, failure = self._retry, None
        for attempt in itertools.count():
            retry = None if policy is None else Retry(attempt, policy, failure)
            failure = (await self._supervisor.invoke("timer", self._function, payload, retry=retry)).failure
            if failure is None or policy is None or not policy.allows(attempt + 1):
                return True
            delay_s = policy.delay_s(attempt + 1)
            self._supervisor.say(
                f"timer {self._function.name}: retry {attempt + 1} follows in {delay_s:.1f} s"
            )
            if not await self._sleep_until(datetime.now(UTC) + timedelta(seconds=delay_s)):
                return False
        raise AssertionError("attempts are counted without end")

    async def _sleep_until(self, moment: datetime) -> bool:
        """True at that moment, false when the timers were paused before."""
        while (left := (moment - datetime.now(UTC)).total_seconds()) > 0 and not self._paused.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._paused.wait(), min(left, _LONGEST_SLEEP_S))
        return not self._paused.is_set()

    def _remember(self, status: Status) -> None:
        self._status = status
        if self._monitored:
            self._kept.put(self._function.name, status)

    def _text(self, moment: datetime | None) -> str:
        return moment.astimezone(self._zone).isoformat() if moment else "0001-01-01T00:00:00+00:00"


def fresh(schedule: Schedule, now: datetime) -> Status:
    """The status of a timer of which nothing is known."""
    return Status(None, schedule.next_after(now), now)


def recall(known: Status | None, schedule: Schedule, now: datetime) -> tuple[Status, bool]:
    """How a timer goes on, and whether it was due while no host ran.

    When the schedule is another since, what it would have missed does not count.
    """
    if known is None:
        return fresh(schedule, now), False
    since = known.last or known.updated
    expected = schedule.next_after(since)
    if known.due == expected:
        return known, known.due < now
    return (fresh(schedule, now) if expected < now else Status(None, expected, since)), False


def _schedule(function: Function, zone: tzinfo) -> Schedule:
    text = str(function.properties.get("schedule", ""))
    try:
        return parse_schedule(text, zone)
    except ValueError as error:
        raise HostError(f"function {function.name}: schedule {text!r}: {error}", code=1) from error
