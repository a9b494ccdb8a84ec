"""Stopping: what runs may finish, what does not is ended, and nothing is left behind."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from host_process import APPS, HostProcess, until


@pytest.fixture
def steady(tmp_path: Path) -> Iterator[Callable[..., HostProcess]]:
    hosts: list[HostProcess] = []

    def make(*arguments: str) -> HostProcess:
        hosts.append(HostProcess(APPS / "steady", tmp_path, *arguments).ready())
        return hosts[-1]

    yield make
    for host in hosts:
        host.stop()


def in_background(host: HostProcess, path: str) -> Callable[[], httpx.Response | None]:
    """Ask, and return what gives the answer when it is there (`None`: the connection was cut)."""
    answers: list[httpx.Response | None] = []

    def ask() -> None:
        try:
            answers.append(httpx.get(host.url + path, timeout=30))
        except httpx.TransportError:
            answers.append(None)

    thread = threading.Thread(target=ask)
    thread.start()

    def answer() -> httpx.Response | None:
        thread.join(30)
        return answers[0]

    return answer


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def test_a_running_function_finishes_and_event_streams_end(steady: Callable[..., HostProcess]) -> None:
    host = steady()
    worker = host.status()["workerPid"]
    slow = in_background(host, "/slow?seconds=0.5")
    with host.http.stream("GET", "/events") as events:
        lines = events.iter_lines()
        assert next(lines) == "data: hello"
        host.wait_for_trace("started")
        host.signal(signal.SIGTERM)
        with pytest.raises(httpx.RemoteProtocolError):  # it would have gone on for ever
            list(lines)
    answer = slow()
    assert answer is not None
    assert answer.text == '"finished"'
    assert host.end() == 0
    until(lambda: not alive(worker), "the worker's end")
    assert "stopped" in host.log
    assert "Traceback" not in host.log


def test_a_function_that_outlives_the_grace_period_is_ended(steady: Callable[..., HostProcess]) -> None:
    host = steady("--grace", "0.2")
    slow = in_background(host, "/slow?seconds=60")
    host.wait_for_trace("started")
    host.signal(signal.SIGTERM)
    assert host.end() == 0
    answer = slow()
    assert answer is None or answer.status_code >= 500


def test_a_second_signal_ends_everything_at_once(steady: Callable[..., HostProcess]) -> None:
    host = steady("--grace", "60")
    worker = host.status()["workerPid"]
    slow = in_background(host, "/slow?seconds=60")
    host.wait_for_trace("started")
    host.signal(signal.SIGINT)
    host.wait_for_log("stopping")
    host.signal(signal.SIGINT)
    assert host.end() == 128 + signal.SIGINT
    until(lambda: not alive(worker), "the worker's end")
    assert slow() is None


def test_a_killed_host_takes_its_worker_along_and_frees_its_data(steady: Callable[..., HostProcess]) -> None:
    host = steady()
    worker = host.status()["workerPid"]
    host.kill()
    until(lambda: not alive(worker), "the worker's end")
    host.launch()
    host.ready()


def test_a_worker_that_leaves_a_process_behind_is_still_replaced(steady: Callable[..., HostProcess]) -> None:
    host = steady()
    assert host.http.post("/orphan").status_code == 502
    orphan = int(host.trace_file.read_text())
    host.wait_for_log("ended with exit code 7; restarting it")
    assert host.http.get("/slow?seconds=0").text == '"finished"'
    assert alive(orphan)
    os.kill(orphan, signal.SIGKILL)


def test_a_host_whose_worker_keeps_crashing_gives_its_work_back_and_stops(
    steady: Callable[..., HostProcess],
) -> None:
    host = steady()
    host.http.post("/crash")
    until(lambda: host.log.count("ended with exit code 9; restarting it") == 3, "three crashes")
    host.signal(signal.SIGTERM)  # the next worker is not there yet, and the activity waits for it
    assert host.end() == 0
    assert "Traceback" not in host.log


def test_two_hosts_on_one_data_folder_or_one_port_are_refused(
    steady: Callable[..., HostProcess], tmp_path: Path
) -> None:
    host = steady()
    port = host.url.rpartition(":")[2]
    second = HostProcess(APPS / "steady", tmp_path)
    assert second.end() == 2
    assert f"is in use by another host (pid {host.process.pid})" in second.log
    third = HostProcess(APPS / "steady", tmp_path / "other", "--port", port)
    assert third.end() == 2
    assert f"cannot listen on 127.0.0.1 port {port}: " in third.log
    assert len(third.log.strip().splitlines()) == 1
    assert host.http.get("/slow?seconds=0").status_code == 200
