"""Threads for work that may block, handed over and brought back many pieces at a time.

With an executor and `run_in_executor` a piece takes two futures and two wake-ups, which cost more than a
short function does. Here a thread goes from one piece to the next, and the loop is woken once for all that
was done meanwhile.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

# Longer than a thread waits for the interpreter lock while another runs on.
_BLOCKED_AFTER_S = 0.01
_SPARE_AFTER_S = 10.0


class Piece(Protocol):
    """A piece of work."""

    def run(self) -> None:
        """Do it, on a thread; whatever happens, it does not raise."""

    def end(self) -> None:
        """Called on the loop when it was done."""


class _Thread:
    """`since` is when it began what it is at; None while it waits for work."""

    def __init__(self) -> None:
        self.since: float | None = None


class Threads:
    """Runs pieces of work in the order in which they come, on as few threads as will do.

    Threads are added when all have been at one piece for longer than `_BLOCKED_AFTER_S`, a thread for each
    piece that waits: what blocks holds up others no longer than that. There are at most `most`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        self._loop = loop
        self._most = most
        self._waiting: queue.SimpleQueue[Piece] = queue.SimpleQueue()
        self._told: deque[Callable[[], None]] = deque()
        self._woken = False  # the loop knows that there is something in it
        self._looking = False
        self._threads: set[_Thread] = set()
        self._added = 0.0

    def submit(self, piece: Piece) -> None:
        """Have it run; called on the loop."""
        self._waiting.put(piece)
        if not self._threads:
            self._add()
        elif not self._looking:
            self._look_soon()

    def _look_soon(self) -> None:
        self._looking = True
        self._loop.call_later(_BLOCKED_AFTER_S, self._look)

    def _look(self) -> None:
        self._looking = False
        waiting = self._waiting.qsize()
        room = self._most - len(self._threads)
        if not waiting or not room:
            return
        blocked = time.monotonic() - _BLOCKED_AFTER_S
        if all(thread.since is not None and thread.since < blocked for thread in list(self._threads)):
            for _ in range(min(waiting, room)):
                self._add()
        self._look_soon()

    def _add(self) -> None:
        self._added = time.monotonic()
        thread = _Thread()
        self._threads.add(thread)
        threading.Thread(target=self._work, args=(thread,), name="functions", daemon=True).start()

    def tell(self, message: Callable[[], None]) -> None:
        """Have it called on the loop, from any thread, after all that was told before."""
        self._told.append(message)
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
                self._loop.call_soon_threadsafe(self._hear)

    def _hear(self) -> None:
        self._woken = False  # before looking: what is told from now on wakes again
        while self._told:
            self._told.popleft()()

    def _work(self, thread: _Thread) -> None:
        while True:
            piece = self._waiting.get()
            thread.since = time.monotonic()
            piece.run()
            self.tell(piece.end)
            if thread.since - self._added > _SPARE_AFTER_S and self._can_spare(thread):
                return
            thread.since = None

    def _can_spare(self, thread: _Thread) -> bool:
        """Let a thread go, unless it is the last: two that look at the same time may both stay."""
        if len(self._threads) > 1:
            self._threads.discard(thread)
            if self._threads:
                return True
            self._threads.add(thread)
        return False
