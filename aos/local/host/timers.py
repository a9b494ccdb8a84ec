"""Timer triggers: one run at a time, and a status on disk so that a missed tick is made up for."""

import asyncio
import contextlib
import itertools
import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aos.local.host.calls import WorkerLostError
from aos.local.host.errors import HostError
from aos.local.host.functions import Function
from aos.local.host.retries import Retry, RetryPolicy
from aos.local.host.schedule import Schedule, is_frequent, parse_schedule
from aos.local.host.settings import read_json_object
from aos.local.host.supervisor import Supervisor

_LONGEST_SLEEP_S = 30.0  # the wall clock may be set or the machine sleep: look again at least this often


class TimerStatus:
    """When each timer last ran and is due next, kept in one JSON file that is replaced atomically."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, Any] = read_json_object(path) if path.exists() else {}

    def of(self, name: str) -> tuple[datetime | None, datetime | None, datetime | None]:
        """When the timer last ran, was due next, and was last written down."""
        entry = self._entries.get(name)
        if not isinstance(entry, Mapping):
            return None, None, None
        try:
            last, due, updated = (_moment(entry.get(key)) for key in ("last", "next", "updated"))
        except ValueError as error:
            raise HostError(f"{self._path}: the entry of {name} is not a timer's status ({error})") from error
        return last, due, updated

    def put(self, name: str, last: datetime | None, due: datetime, now: datetime) -> None:
        """Write the status down before anything relies on it."""
        entry = {
            "last": last.isoformat() if last else None,
            "next": due.isoformat(),
            "updated": now.isoformat(),
        }
        self._entries[name] = entry
        scratch = self._path.with_suffix(".tmp")
        try:
            with scratch.open("w") as file:
                json.dump(self._entries, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(self._path)
        except OSError as error:
            raise HostError(f"cannot write {self._path}: {error.strerror}", code=1) from error


class Timers:
    """Every timer of the app."""

    def __init__(
        self, functions: Iterable[Function], path: Path, supervisor: Supervisor, retry: RetryPolicy | None
    ) -> None:
        status, self._paused = TimerStatus(path), asyncio.Event()
        self._supervisor = supervisor
        self._timers = [
            Timer(each, status, supervisor, self._paused, each.retry or retry) for each in functions
        ]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to fire."""
        self._tasks = [self._supervisor.spawn(timer.run()) for timer in self._timers]

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
        status: TimerStatus,
        supervisor: Supervisor,
        paused: asyncio.Event,
        retry: RetryPolicy | None,
    ) -> None:
        self._paused = paused
        self._retry = retry
        self._function = function
        self._status = status
        self._supervisor = supervisor
        self._schedule = _schedule(function)
        self._monitored = function.properties.get("useMonitor") is not False and not is_frequent(
            self._schedule, datetime.now(UTC)
        )

    async def run(self) -> None:
        """Fire until paused: when overdue, at start if asked for, and on schedule."""
        due, overdue = self._recall(datetime.now(UTC))
        if overdue or self._function.properties.get("runOnStartup"):
            due = await self._fire(due, past_due=overdue)
        while await self._sleep_until(due):
            due = await self._fire(due, past_due=False)

    def _recall(self, now: datetime) -> tuple[datetime, bool]:
        """When the timer is due, and whether that moment was missed while no host ran."""
        last, due, updated = self._status.of(self._function.name) if self._monitored else (None, None, None)
        following = self._schedule.next_after(now)
        since = last or updated
        if (
            due is None or since is None or self._schedule.next_after(since) != due
        ):  # new, or another schedule
            self._remember(last, following, now)
            return following, False
        return due, due < now

    async def _fire(self, due: datetime, *, past_due: bool) -> datetime:
        """Run the function; returns when it is due next (occurrences meanwhile are skipped)."""
        started = datetime.now(UTC)
        following = self._schedule.next_after(started)
        last, _, _ = self._status.of(self._function.name)
        payload = {
            "Schedule": {"AdjustForDST": True},
            "ScheduleStatus": {"Last": _text(last), "LastUpdated": _text(last), "Next": _text(following)},
            "IsPastDue": past_due,
        }
        try:
            ended = await self._run(json.dumps(payload).encode())
        except WorkerLostError:
            ended = False
            if not self._paused.is_set():
                self._supervisor.say(
                    f"timer {self._function.name}: the run was lost with its worker; running it again"
                )
                return await self._fire(due, past_due=past_due)
        if not ended:
            return due  # still on record as due: the next host makes up for it
        now = datetime.now(UTC)
        following = following if following > now else self._schedule.next_after(now)
        self._remember(started, following, now)
        return following

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

    def _remember(self, last: datetime | None, due: datetime, now: datetime) -> None:
        if self._monitored:
            self._status.put(self._function.name, last, due, now)


def _schedule(function: Function) -> Schedule:
    text = str(function.properties.get("schedule", ""))
    try:
        return parse_schedule(text)
    except ValueError as error:
        raise HostError(f"function {function.name}: schedule {text!r}: {error}", code=1) from error


def _moment(text: object) -> datetime | None:
    return None if text is None else datetime.fromisoformat(str(text))


def _text(moment: datetime | None) -> str:
    return moment.isoformat() if moment else "0001-01-01T00:00:00+00:00"
