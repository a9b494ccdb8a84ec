"""Time as the hub sees it: whole microseconds since the epoch, UTC."""

import asyncio
import time
from typing import Protocol

SECOND = 1_000_000

# The longest sleep before the wall clock is read again, so that a clock set forward is noticed.
_LONGEST_SLEEP_S = 1.0


class Clock(Protocol):
    """The hub's source of time; a test supplies one that it can move."""

    def now(self) -> int:
        """Microseconds since the epoch."""
        ...

    async def sleep_until(self, when: int) -> None:
        """Return once `now()` has reached `when`."""
        ...


class SystemClock:
    """The machine's wall clock."""

    def now(self) -> int:
        """Microseconds since the epoch."""
        return time.time_ns() // 1000

    async def sleep_until(self, when: int) -> None:
        """Return once the wall clock has reached `when`, also when it is set forward meanwhile."""
        # A loop, not an event: what is waited for is the wall clock, which tells nobody when it is set.
        while (left := when - self.now()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left / SECOND, _LONGEST_SLEEP_S))
