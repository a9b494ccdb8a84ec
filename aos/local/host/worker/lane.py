"""A socket for functions that run on threads, where the thread that reads a request also runs and answers it.

Between an event loop and an executor every invocation is handed over twice, and each hand-over wakes another
thread: that costs more than a short function. Here one thread serves as long as functions are short. When
all that there are have been at one function for longer than `_BLOCKED_AFTER_S` another is added: a function
that blocks holds up others no longer than that.
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NoReturn

from aos.local.host.frames import Cutter, Kind, frame, pack
from aos.local.host.worker.jobs import Job, Outcome

_BLOCKED_AFTER_S = 0.01  # longer than a thread waits for the interpreter lock while another runs on
_SPARE_AFTER_S = 10.0
_READ_BYTES = 256 * 1024
_KEPT_BACK = 16  # results that may wait to be sent with those that follow at once

_here = threading.local()


class _Thread:
    """`since` is when it began the function that it is at; None between two."""

    def __init__(self) -> None:
        self.since: float | None = None


class Lane:
    """Serves the socket on at most `most` threads; `job_of` makes a job of what a frame asks for.

    `lost` is called, on one of the threads, when the host is gone; it does not return.
    """

    def __init__(
        self,
        sock: socket.socket,
        most: int,
        job_of: Callable[[Kind, bytes], Job],
        lost: Callable[[], NoReturn],
    ) -> None:
        self._sock = sock
        self._most = most
        self._job_of = job_of
        self._lost = lost
        self._cutter = Cutter()
        self._jobs: dict[int, Job] = {}  # those without an answer, by stream
        self._waiting: deque[tuple[int, Job]] = deque()
        self._reading = False
        self._change = threading.Condition(threading.Lock())  # of the two above
        self._results: list[bytes] = []
        self._writing = threading.Lock()
        self._threads: set[_Thread] = set()
        self._added = 0.0
        self._busy = threading.Event()

    def start(self) -> None:
        """Begin to serve."""
        self._sock.setblocking(True)
        threading.Thread(target=self._watch, name="lane-watch", daemon=True).start()
        self._add()

    def cancel(self, stream: int) -> None:
        """Give up an invocation: its answer says whether it is still at it."""
        job = self._jobs.get(stream)
        if job is not None:
            self._answer(stream, job.given_up())
            self._flush()

    def tell(self, kind: Kind, payload: bytes) -> bool:
        """From a function that runs here: send this before its result. False on any other thread."""
        if getattr(_here, "lane", None) is not self:
            return False
        with self._writing:
            self._results.append(frame(kind, 0, payload))
        return True

    def _answer(self, stream: int, outcome: Outcome) -> None:
        if self._jobs.pop(stream, None) is not None:  # else it was given up, or has ended just before it was
            result = frame(Kind.RESULT, stream, pack(*outcome))
            with self._writing:
                self._results.append(result)

    def _flush(self) -> None:
        with self._writing:
            if self._results:
                results, self._results = self._results, []
                try:
                    self._sock.sendall(b"".join(results))
                except OSError:
                    self._lost()

    # -- threads

    def _add(self) -> None:
        self._added = time.monotonic()
        thread = _Thread()
        self._threads.add(thread)
        threading.Thread(target=self._serve, args=(thread,), name="functions", daemon=True).start()

    def _serve(self, thread: _Thread) -> None:
        _here.lane = self
        while True:
            stream, job = self._next()
            began = thread.since = time.monotonic()
            if not self._busy.is_set():
                self._busy.set()
            if stream in self._jobs:
                self._answer(stream, job.run())
            thread.since = None
            if not self._waiting or len(self._results) >= _KEPT_BACK:
                self._flush()
            if began - self._added > _SPARE_AFTER_S and self._can_spare(thread):
                return

    def _can_spare(self, thread: _Thread) -> bool:
        """Let a thread go, unless it is the last: two that look at the same time may both stay."""
        if len(self._threads) > 1:
            self._threads.discard(thread)
            if self._threads:
                with self._change:
                    self._change.notify()  # what it would have read or run next is another's
                return True
            self._threads.add(thread)
        return False

    def _next(self) -> tuple[int, Job]:
        """What to run next; one thread reads while there is nothing, the others wait for that one."""
        while True:
            with self._change:
                while self._reading and not self._waiting:
                    self._change.wait()
                if self._waiting:
                    return self._waiting.popleft()
                self._reading = True
            jobs = self._read()
            with self._change:
                self._reading = False
                self._waiting.extend(jobs)
                self._change.notify(len(jobs))

    def _read(self) -> list[tuple[int, Job]]:
        try:
            data = self._sock.recv(_READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self._lost()
        jobs = [(stream, self._job_of(kind, payload)) for kind, stream, payload in self._cutter.feed(data)]
        self._jobs.update(jobs)
        return jobs

    def _watch(self) -> None:
        """While functions run: send what their threads have not come to, add threads when all are stuck."""
        while True:
            self._busy.wait()
            time.sleep(_BLOCKED_AFTER_S)
            self._flush()
            since = [thread.since for thread in list(self._threads)]
            stuck = time.monotonic() - _BLOCKED_AFTER_S
            if all(began is not None and began < stuck for began in since):
                for _ in range(min(max(len(self._waiting), 1), self._most - len(since))):
                    self._add()
            elif not any(since):
                self._busy.clear()
                if any(thread.since for thread in list(self._threads)):
                    self._busy.set()  # one that began just now may not have seen it cleared
