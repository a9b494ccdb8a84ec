"""Threads for work that may block."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from aos.local.host.worker.threads import Threads

WAIT_S = 40


class Piece:
    def __init__(self, work: Callable[[], object] = lambda: None) -> None:
        self._work = work
        self.thread = ""
        self.ended = asyncio.get_running_loop().create_future()

    def run(self) -> None:
        self._work()
        self.thread = threading.current_thread().name + str(threading.get_ident())

    def end(self) -> None:
        self.ended.set_result(None)


async def run(threads: Threads, pieces: list[Piece]) -> None:
    for piece in pieces:
        threads.submit(piece)
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*(piece.ended for piece in pieces))


async def test_pieces_that_wait_for_each_other_all_get_a_thread() -> None:
    threads = Threads(asyncio.get_running_loop(), 8)
    barrier = threading.Barrier(8)
    pieces = [Piece(lambda: barrier.wait(WAIT_S)) for _ in range(8)]
    await run(threads, pieces)
    assert len({piece.thread for piece in pieces}) == 8


async def test_there_are_no_more_threads_than_allowed() -> None:
    threads = Threads(asyncio.get_running_loop(), 2)
    free = threading.Event()
    blocked = [Piece(lambda: free.wait(WAIT_S)) for _ in range(2)]
    third = Piece()
    for piece in (*blocked, third):
        threads.submit(piece)
    await asyncio.sleep(0.05)  # long enough to add a thread, were it allowed
    assert not third.ended.done()
    free.set()
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*(piece.ended for piece in (*blocked, third)))
    assert third.thread in {piece.thread for piece in blocked}


async def test_threads_that_are_no_longer_needed_end_and_all_pieces_are_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aos.local.host.worker.threads._SPARE_AFTER_S", 0.0)
    threads = Threads(asyncio.get_running_loop(), 4)
    barrier = threading.Barrier(4)
    await run(threads, [Piece(lambda: barrier.wait(WAIT_S)) for _ in range(4)])
    for _ in range(20):
        await run(threads, [Piece() for _ in range(50)])
    assert len(threads._threads) < 4


async def test_what_is_told_from_a_thread_comes_before_what_it_tells_later() -> None:
    threads = Threads(asyncio.get_running_loop(), 1)
    heard: list[str] = []
    pieces = [
        Piece(lambda number=number: threads.tell(lambda: heard.append(f"log {number}")))
        for number in range(50)
    ]  # type: ignore[misc]
    for number, piece in enumerate(pieces):
        piece.ended.add_done_callback(lambda _, number=number: None)
        end = piece.end
        piece.end = lambda number=number, end=end: (heard.append(f"end {number}"), end())  # type: ignore[method-assign, misc]
    await run(threads, pieces)
    assert heard == [f"{what} {number}" for number in range(50) for what in ("log", "end")]
