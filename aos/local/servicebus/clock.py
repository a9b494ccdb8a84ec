"""Time as the broker sees it: milliseconds since the epoch, and alarms that tests can move."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol

_LONGEST_SLEEP_S = 5.0


class TimerHandle(Protocol):
    """A timer that can be cancelled."""

    def cancel(self) -> None:
        """Never call back."""


class Clock(Protocol):
    """The time now, and a call back later."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> TimerHandle:
        """Call back on the running loop at `when_ms` or earlier: the callback looks at the time again."""


class SystemClock:
    """The machine's clock. Never sleeps longer than 5 s, so that a clock set forward is noticed."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> TimerHandle:
        """Call back at `when_ms`, or after 5 s if that is earlier."""
        delay_s = max(0.0, (when_ms - self.now_ms()) / 1000)
        return asyncio.get_running_loop().call_later(min(delay_s, _LONGEST_SLEEP_S), callback)


class _ManualTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """A clock that stands still until `advance`: tests move it instead of sleeping."""

    def __init__(self, start_ms: int | None = None) -> None:
        self._now_ms = time.time_ns() // 1_000_000 if start_ms is None else start_ms
        self._timers: list[tuple[int, int, _ManualTimer]] = []
        self._order = itertools.count()

    def now_ms(self) -> int:
        """The time it was moved to."""
        return self._now_ms

    def call_at(self, when_ms: int, callback: Callable[[], None]) -> TimerHandle:
        """Call back when `advance` passes `when_ms`."""
        timer = _ManualTimer(callback)
        heapq.heappush(self._timers, (when_ms, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Move on, calling back everything that falls due, in order; on the broker's loop only."""
        target = self._now_ms + round(seconds * 1000)
        while self._timers and self._timers[0][0] <= target:
            when_ms, _, timer = heapq.heappop(self._timers)
            self._now_ms = max(self._now_ms, when_ms)
            if timer.callback is not None:
                timer.callback()
        self._now_ms = target


class Alarm:
    """The earliest of the times asked for; re-armed only when an earlier one is asked for."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._when_ms: int | None = None
        self._handle: TimerHandle | None = None

    def at(self, when_ms: int | None) -> None:
        """Ring at `when_ms` at the latest (None asks for nothing)."""
        if when_ms is None or (self._when_ms is not None and self._when_ms <= when_ms):
            return
        self.cancel()
        self._when_ms = when_ms
        self._handle = self._clock.call_at(when_ms, self._fire)

    def cancel(self) -> None:
        """Do not ring."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._when_ms = None

    def _fire(self) -> None:
        self._handle = self._when_ms = None
        self._ring()
