"""Orchestrations that are kept alive between their turns, bounded in number, size and time."""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from aos.local.host.worker.programs import Alive

_MOST = 2000
_MOST_BYTES = 32 * 1024 * 1024
_IDLE_S = 60.0


@dataclass(frozen=True, slots=True)
class Entry:
    """An orchestration after a turn; `size` are the bytes that it has read, a measure of what it holds."""

    alive: Alive
    after: str
    size: int
    since: float


class Kept:
    """By instance id; the one kept for longest goes first. Any thread may take and keep."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Entry] = OrderedDict()
        self._size = 0

    def take(self, instance: str, after: str | None) -> Entry | None:
        """The orchestration after the turn with that token, no longer kept; None where it is not here.

        Whatever else is kept of the instance is let go.
        """
        with self._lock:
            kept = self._drop(instance)
        return kept if kept is not None and kept.after == after else None

    def keep(self, instance: str, after: str, alive: Alive, size: int) -> None:
        """Keep it for the turn that goes on from this one."""
        with self._lock:
            self._drop(instance)
            self._kept[instance] = Entry(alive, after, size, time.monotonic())
            self._size += size
            self._let_go()

    def _drop(self, instance: str) -> Entry | None:
        kept = self._kept.pop(instance, None)
        if kept is not None:
            self._size -= kept.size
        return kept

    def _let_go(self) -> None:
        oldest = time.monotonic() - _IDLE_S
        while self._kept:
            first = next(iter(self._kept.values()))
            if len(self._kept) <= _MOST and self._size <= _MOST_BYTES and first.since >= oldest:
                return
            self._size -= self._kept.popitem(last=False)[1].size
