"""How many HTTP requests the app takes at once: `maxOutstandingRequests` and `maxConcurrentRequests`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class TooBusyError(Exception):
    """More requests are waiting or running than the app wants to take."""


class Throttle:
    """Runs `concurrent` requests at once and lets others wait, `outstanding` in all (`None`: no limit)."""

    def __init__(self, outstanding: int | None = None, concurrent: int | None = None) -> None:
        self._outstanding = outstanding
        self._places = asyncio.Semaphore(concurrent) if concurrent is not None else contextlib.nullcontext()
        self._taken = 0

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place; `TooBusyError` when too many wait already."""
        if self._outstanding is not None and self._taken >= self._outstanding:
            raise TooBusyError
        self._taken += 1
        try:
            async with self._places:
                yield
        finally:
            self._taken -= 1
