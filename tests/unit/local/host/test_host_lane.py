"""The lane: functions on threads that read, run and answer by themselves."""

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from aos.local.host.frames import Cutter, Kind, frame, pack, unpack
from aos.local.host.worker.jobs import Job, Outcome
from aos.local.host.worker.lane import Lane

WAIT_S = 40

type Work = Callable[[], object]


def stay() -> NoReturn:
    """Where a worker would end: its threads serve nobody any more."""
    while True:
        threading.Event().wait()


class Probe(Job):
    """A job that does what the test says and answers with the name of its thread."""

    def __init__(self, name: str, work: Work) -> None:
        super().__init__(name, "probe", {})
        self._work = work

    def _call(self) -> Outcome:
        self._work()
        return {"ok": True}, str(threading.get_ident()).encode()


class Host:
    """The other end of the lane."""

    def __init__(self, most: int) -> None:
        self._sock, theirs = socket.socketpair()
        self._sock.settimeout(WAIT_S)
        self._cutter = Cutter()
        self._works: dict[str, Work] = {}
        self.lane = Lane(theirs, most, self._job, stay)
        self.lane.start()
        self.came: list[tuple[Kind, int, bytes]] = []

    def _job(self, kind: Kind, payload: bytes) -> Job:
        assert kind is Kind.INVOKE
        name = unpack(payload)[0]["name"]
        return Probe(name, self._works[name])

    def ask(self, works: dict[int, Work]) -> None:
        self._works |= {str(stream): work for stream, work in works.items()}
        asked = (frame(Kind.INVOKE, stream, pack({"name": str(stream)})) for stream in works)
        self._sock.sendall(b"".join(asked))

    def answers(self, count: int) -> dict[int, tuple[dict[str, Any], bytes]]:
        """Of so many invocations, by stream."""
        found: dict[int, tuple[dict[str, Any], bytes]] = {}
        while len(found) < count:
            for kind, stream, payload in self._cutter.feed(self._sock.recv(65536)):
                self.came.append((kind, stream, payload))
                if kind is Kind.RESULT:
                    assert stream not in found
                    found[stream] = unpack(payload)
        return found

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def hosts() -> Iterator[Callable[[int], Host]]:
    made: list[Host] = []

    def host(most: int) -> Host:
        made.append(Host(most))
        return made[-1]

    yield host
    for each in made:
        each.close()


def test_functions_that_wait_for_each_other_all_get_a_thread(hosts: Callable[[int], Host]) -> None:
    host, barrier = hosts(8), threading.Barrier(8)
    for _ in range(3):
        host.ask({stream: lambda: barrier.wait(WAIT_S) for stream in range(8)})
        assert len({body for _, body in host.answers(8).values()}) == 8


def test_there_are_no_more_threads_than_allowed_and_none_is_needed_for_short_functions(
    hosts: Callable[[int], Host],
) -> None:
    host, free = hosts(2), threading.Event()
    host.ask({1: lambda: free.wait(WAIT_S), 2: lambda: free.wait(WAIT_S), 3: lambda: None})
    free_later = threading.Timer(0.1, free.set)  # time enough to add a thread, were it allowed
    free_later.start()
    answers = host.answers(3)
    assert answers[3][1] in (answers[1][1], answers[2][1])
    host.ask({stream: lambda: None for stream in range(4, 104)})
    assert len(host.answers(100)) == 100


def test_a_result_does_not_wait_for_the_function_that_blocks_after_it(hosts: Callable[[int], Host]) -> None:
    host, answered = hosts(1), threading.Event()
    host.ask({1: lambda: None, 2: lambda: answered.wait(WAIT_S)})
    assert host.answers(1)[1][0] == {"ok": True}
    answered.set()
    assert list(host.answers(1)) == [2]


def test_threads_that_are_no_longer_needed_end_and_everything_is_run(
    hosts: Callable[[int], Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aos.local.host.worker.lane._SPARE_AFTER_S", 0.0)
    host, barrier = hosts(4), threading.Barrier(4)
    host.ask({stream: lambda: barrier.wait(WAIT_S) for stream in range(4)})
    host.answers(4)
    for first in range(10, 1010, 50):
        host.ask({stream: lambda: None for stream in range(first, first + 50)})
        assert len(host.answers(50)) == 50
    assert len(host.lane._threads) < 4


def test_what_a_function_tells_comes_before_its_result(hosts: Callable[[int], Host]) -> None:
    host = hosts(1)

    def tell(stream: int) -> Work:
        return lambda: host.lane.tell(Kind.LOG, str(stream).encode())

    host.ask({stream: tell(stream) for stream in range(50)})
    host.answers(50)
    assert [payload.decode() if kind is Kind.LOG else str(stream) for kind, stream, payload in host.came] == [
        str(stream) for stream in range(50) for _ in range(2)
    ]
    assert not host.lane.tell(Kind.LOG, b"from a thread that is none of its own")


def test_what_is_given_up_is_answered_once_and_says_whether_it_had_begun(
    hosts: Callable[[int], Host],
) -> None:
    host, begun, free = hosts(1), threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        free.wait(WAIT_S)

    host.ask({1: block, 2: lambda: None, 3: lambda: None})
    assert begun.wait(WAIT_S)
    host.lane.cancel(1)
    host.lane.cancel(2)
    host.lane.cancel(77)  # unknown here: answered already, or not read yet
    answers = host.answers(2)
    assert [answers[stream][0]["stopped"] for stream in (1, 2)] == [False, True]
    free.set()
    assert host.answers(1)[3][0] == {"ok": True}


def test_a_request_may_come_in_pieces_and_be_larger_than_what_is_read_at_once(
    hosts: Callable[[int], Host],
) -> None:
    host = hosts(1)
    host._works["1"] = lambda: None
    asked = frame(Kind.INVOKE, 1, pack({"name": "1"}, b"x" * 1_000_000))
    sender = threading.Thread(
        target=lambda: [host._sock.sendall(asked[at : at + 99_991]) for at in range(0, len(asked), 99_991)]
    )
    sender.start()
    assert host.answers(1)[1][0] == {"ok": True}
    sender.join()


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_whatever_a_function_raises_is_its_result_and_the_next_is_run(
    hosts: Callable[[int], Host], error: BaseException
) -> None:
    def fail() -> None:
        raise error

    host = hosts(1)
    host.ask({1: fail, 2: lambda: None})
    answers = host.answers(2)
    assert answers[1][0]["ok"] is False
    assert answers[1][0]["type"] == (
        "FunctionExitedError" if isinstance(error, SystemExit) else type(error).__name__
    )
    assert answers[2][0] == {"ok": True}
