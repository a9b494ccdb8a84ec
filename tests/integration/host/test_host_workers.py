"""Several workers for one app: work is spread, and what befalls one leaves the others alone."""

import concurrent.futures
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from host_process import APPS, HostProcess, until


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    folder = tmp_path_factory.mktemp("many")
    host = HostProcess(APPS / "many", folder, "--workers", "3", "--grace", "1").ready()
    yield host
    host.stop()


def pids(host: HostProcess) -> list[int]:
    return [worker["pid"] for worker in host.status()["workers"]]


def all_up(host: HostProcess) -> list[int]:
    return until(lambda: found if len(found := pids(host)) == 3 else [], "three workers")


def children(host: HostProcess) -> list[int]:
    """The host's workers, those that are only loading the app among them."""
    tasks = Path(f"/proc/{host.process.pid}/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


def get(host: HostProcess, path: str) -> httpx.Response:
    return httpx.get(host.url + path, timeout=30)


def test_invocations_are_spread_over_the_workers(many: HostProcess) -> None:
    workers = all_up(many)
    assert {int(many.http.get("/pid").text) for _ in range(6)} == set(workers)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        busy = [pool.submit(get, many, "/nap") for _ in range(3)]
        assert {int(each.result().text) for each in busy} == set(workers)


def test_a_function_that_blocks_its_worker_stalls_no_other(many: HostProcess) -> None:
    all_up(many)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        blocked = pool.submit(get, many, "/block")
        many.wait_for_trace("blocking")
        answered = [many.http.get("/pid").text for _ in range(12)]
        assert not blocked.done()
        Path(f"{many.trace_file}.go").touch()
        assert blocked.result().text not in answered[1:]
    many.wait_for_log("| about to block")
    line = next(line for line in many.log.splitlines() if "| about to block" in line)
    assert line.split()[1] == "worker"
    assert line.split()[2] in ("1", "2", "3")


def test_a_dead_worker_is_replaced_alone(many: HostProcess) -> None:
    before = all_up(many)
    os.kill(before[1], signal.SIGKILL)
    many.wait_for_log(f"the worker (pid {before[1]}) was killed by signal 9; restarting it")
    after = all_up(many)
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] != before[1]


def test_a_worker_that_dies_while_it_loads_the_app_is_followed_by_another(many: HostProcess) -> None:
    before = all_up(many)
    os.kill(before[0], signal.SIGKILL)
    until(lambda: set(children(many)) - set(before), "the start of another")
    (loading,) = set(children(many)) - set(before)
    os.kill(loading, signal.SIGKILL)
    many.wait_for_log("the worker process ended while it was loading the app; starting another")
    after = all_up(many)
    assert after[1:] == before[1:]
    assert after[0] not in (before[0], loading)


def test_a_function_that_takes_too_long_ends_its_own_worker_only(many: HostProcess) -> None:
    before = all_up(many)
    answer = get(many, "/stuck")
    assert (answer.status_code, answer.text) == (504, "the function took too long")
    until(lambda: len(set(all_up(many)) - set(before)) == 1, "the replacement of one worker")


def test_activities_run_in_every_worker_and_survive_the_end_of_one(many: HostProcess) -> None:
    all_up(many)
    assert get(many, "/start/fan_out").text == "20"
    runs = many.wait_for_trace("work", 21)
    assert runs.count("work 7") == 2


def test_the_number_of_workers_may_be_an_app_setting(many: HostProcess) -> None:
    setting = "FUNCTIONS_WORKER_PROCESS_COUNT"
    host = HostProcess(APPS / "many", many.folder / "two", env={setting: "2"}).ready()
    assert len(pids(host)) == 2
    host.stop()
    wrong = HostProcess(APPS / "many", many.folder / "eleven", env={setting: "11"})
    assert wrong.end() == 2
    assert f"{setting} is '11': it must be a number from 1 to 10" in wrong.log
