"""One place for a worker process: whoever dies there is followed by another."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aos.local.host.console import Console
from aos.local.host.errors import AppError, LoadCutShortError
from aos.local.host.process import WorkerProcess

_BACKOFF_S = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0)
_HEALTHY_AFTER_S = 10.0
_turns = itertools.count()


class WorkerSlot:
    """The worker at one place; `changed` is called whenever it becomes able or unable to take work."""

    def __init__(
        self,
        number: int,
        launch: Callable[[int], Awaitable[WorkerProcess]],
        changed: Callable[[], None],
        console: Console,
    ) -> None:
        self.number = number
        self.worker: WorkerProcess | None = None
        self._launch = launch
        self._changed = changed
        self._console = console
        self._able = False
        self._turn = 0

    @property
    def live(self) -> WorkerProcess | None:
        """The worker, while it can take work."""
        worker = self.worker
        return worker if worker is not None and self._able and not worker.lost.done() else None

    @property
    def load(self) -> tuple[bool, int, int]:
        """What orders the places by how well they take one more: does it hang, how much runs, whose turn."""
        assert self.worker is not None, "only a place with a worker is asked"
        return self.worker.hangs, self.worker.running, self._turn

    def take_turn(self) -> None:
        """Go behind the other places that are as busy."""
        self._turn = next(_turns)

    async def start(self) -> list[dict[str, Any]]:
        """Start the first worker; the functions that it indexed."""
        self.worker = await self._launch(self.number)
        self._set_able(True)
        return self.worker.functions

    async def keep(self) -> None:
        """Restart the worker whenever it dies, later and later; `AppError` when the app no longer loads."""
        assert self.worker is not None, "there is a worker to keep"
        deaths, functions = 0, self.worker.functions
        while True:
            started = time.monotonic()
            await asyncio.shield(self.worker.lost)
            self._set_able(False)
            ended = await self.worker.ended()
            self._console.warn(f"the worker (pid {self.worker.pid}) {ended}; restarting it")
            deaths = 0 if time.monotonic() - started > _HEALTHY_AFTER_S else deaths
            self.worker, deaths = await self._replace(deaths)
            if self.worker.functions != functions:
                raise AppError("the app's functions changed on disk: start the host again")
            self._set_able(True)

    async def _replace(self, deaths: int) -> tuple[WorkerProcess, int]:
        """Another worker after so many deaths in a row, and how many there were by then.

        One that dies while it loads the app, which was loaded before, has died like any other.
        """
        while True:
            await asyncio.sleep(_BACKOFF_S[min(deaths, len(_BACKOFF_S) - 1)])
            deaths += 1
            try:
                return await self._launch(self.number), deaths
            except LoadCutShortError as error:
                self._console.warn(f"{error.message}; starting another")

    async def stop(self) -> None:
        """End the worker."""
        self._set_able(False)
        worker, self.worker = self.worker, None
        if worker is not None:
            await worker.stop()

    def _set_able(self, able: bool) -> None:
        self._able = able
        self._changed()
