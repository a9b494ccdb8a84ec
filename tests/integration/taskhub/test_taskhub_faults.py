"""Killed hubs, dead workers, full disks, and files that cannot be used."""

import json
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
import pytest
from durabletask import task
from durabletask.client import OrchestrationStatus, TaskHubGrpcClient
from durabletask.entities import EntityContext, EntityInstanceId
from taskhub_live import WAIT_S, HubProcess, until, worker

Context = task.OrchestrationContext


def add_one_activity(_: task.ActivityContext, number: int) -> int:
    return number + 1


def big_activity(_: task.ActivityContext, size: int) -> str:
    return "x" * size


def tally_entity(context: EntityContext, value: int) -> object:
    if context.operation == "add":
        context.set_state(context.get_state(int, 0) + value)
    return context.get_state(int, 0)


def chain(context: Context, steps: int):
    number = 0
    for _ in range(steps):
        number = yield context.call_activity(add_one_activity, input=number)
    return number


def fan_out(context: Context, width: int):
    results = yield task.when_all([context.call_activity(add_one_activity, input=n) for n in range(width)])
    return sum(results)


def tallies(context: Context, times: int):
    for _ in range(times):
        yield context.call_entity(EntityInstanceId("tally_entity", "all"), "add", 1)
    return times


def family(context: Context, steps: int):
    results = yield task.when_all([context.call_sub_orchestrator(chain, input=steps) for _ in range(3)])
    return sum(results)


def stores(context: Context, size: int):
    return len((yield context.call_activity(big_activity, input=size)))


WORK = (add_one_activity, big_activity, tally_entity, chain, fan_out, tallies, family, stores)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    made = HubProcess(tmp_path / "hub.db")
    yield made
    if made.process.poll() is None:
        made.kill()


def result(client: TaskHubGrpcClient, instance_id: str) -> object:
    state = client.wait_for_orchestration_completion(instance_id, timeout=WAIT_S)
    assert state is not None, f"{instance_id} is lost"
    assert state.runtime_status is OrchestrationStatus.COMPLETED, state
    return json.loads(state.serialized_output or "null")


def tally(client: TaskHubGrpcClient) -> int | None:
    entity = client.get_entity(EntityInstanceId("tally_entity", "all"))
    return entity.get_typed_state(int) if entity else None


def test_a_killed_hub_goes_on_where_it_was_with_nothing_lost_or_doubled(hub: HubProcess) -> None:
    running = worker(hub.address, *WORK)
    try:
        expected: dict[str, object] = {}
        with hub.client() as client:
            for n in range(4):
                expected[client.schedule_new_orchestration(chain, input=30, instance_id=f"chain-{n}")] = 30
                expected[client.schedule_new_orchestration(tallies, input=25, instance_id=f"tally-{n}")] = 25
            expected[client.schedule_new_orchestration(fan_out, input=100, instance_id="fan")] = sum(
                range(1, 101)
            )
            expected[client.schedule_new_orchestration(family, input=10, instance_id="family")] = 30
        for pause in (0.15, 0.3, 0.2):
            time.sleep(pause)  # where in the work the kill falls is meant to be left to chance
            hub.kill()
            hub.start()
        with hub.client() as client:
            assert {each: result(client, each) for each in expected} == expected
            assert tally(client) == 100
    finally:
        running.stop()


def test_events_and_signals_acknowledged_before_a_kill_are_there_after_it(hub: HubProcess) -> None:
    with hub.client() as client:
        client.schedule_new_orchestration(chain, input=1, instance_id="accepted")
        for _ in range(10):
            client.signal_entity(EntityInstanceId("tally_entity", "all"), "add", 1)
    hub.kill()
    hub.start()
    running = worker(hub.address, *WORK)
    try:
        with hub.client() as client:
            assert result(client, "accepted") == 1
            until(lambda: tally(client) == 10)
    finally:
        running.stop()


def work_stream(channel: grpc.Channel) -> Iterator[pb.WorkItem]:
    return channel.unary_stream(
        "/TaskHubSidecarService/GetWorkItems", response_deserializer=pb.WorkItem.FromString
    )(pb.GetWorkItemsRequest().SerializeToString())


def test_the_work_of_a_worker_that_vanished_goes_to_another(hub: HubProcess) -> None:
    with hub.client() as client:
        client.schedule_new_orchestration(chain, input=3, instance_id="orphan")
        with grpc.insecure_channel(hub.address) as channel:
            taken = next(iter(work_stream(channel)))
            assert taken.orchestratorRequest.instanceId == "orphan"
        running = worker(hub.address, *WORK)
        try:
            assert result(client, "orphan") == 3
        finally:
            running.stop()


def test_a_completion_with_an_old_token_is_ignored(hub: HubProcess) -> None:
    with hub.client() as client, grpc.insecure_channel(hub.address) as channel:
        client.schedule_new_orchestration(chain, input=1, instance_id="once")
        stream = work_stream(channel)
        first = next(iter(stream))
        stream.cancel()
        held = work_stream(channel)  # a stream that nobody refers to is cancelled
        second = next(iter(held))
        assert second.completionToken != first.completionToken
        complete = channel.unary_unary("/TaskHubSidecarService/CompleteOrchestratorTask")
        ends = pb.CompleteOrchestrationAction(orchestrationStatus=pb.ORCHESTRATION_STATUS_COMPLETED)
        for token, output in ((first.completionToken, "late"), (second.completionToken, "right")):
            ends.result.value = json.dumps(output)
            action = pb.OrchestratorAction(id=1, completeOrchestration=ends)
            response = pb.OrchestratorResponse(instanceId="once", completionToken=token, actions=[action])
            complete(response.SerializeToString())
        assert result(client, "once") == "right"


def fill(client: TaskHubGrpcClient, accepted: list[str]) -> None:
    for n in range(100):
        client.schedule_new_orchestration("nobody-runs-this", input="y" * 50_000, instance_id=f"n{n}")
        accepted.append(f"n{n}")


def test_a_full_disk_is_an_error_and_loses_nothing_acknowledged(hub: HubProcess) -> None:
    running = worker(hub.address, *WORK)
    try:
        with hub.client() as client:
            client.schedule_new_orchestration(chain, input=2, instance_id="before")
            assert result(client, "before") == 2
            hub.limit_file_size(512 * 1024)
            accepted = []
            with pytest.raises(grpc.RpcError) as refusal:
                fill(client, accepted)
            assert refusal.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
            hub.limit_file_size(2**40)
            client.schedule_new_orchestration(stores, input=100_000, instance_id="after")
            assert result(client, "after") == 100_000
        hub.kill()
        hub.start()
        with hub.client() as client:
            assert result(client, "before") == 2
            assert all(client.get_orchestration_state(each) for each in accepted)
            assert client.get_orchestration_state(f"n{len(accepted)}") is None
    finally:
        running.stop()


def test_a_stopped_hub_exits_cleanly_with_a_worker_connected(hub: HubProcess) -> None:
    running = worker(hub.address, *WORK)
    try:
        with hub.client() as client:
            client.schedule_new_orchestration(chain, input=2, instance_id="one")
            assert result(client, "one") == 2
        assert hub.stop() == 0
    finally:
        running.stop()


def refusal(path: Path, port: int = 0) -> str:
    """The one line with which the hub refuses to start."""
    ended = subprocess.run(
        [sys.executable, "-m", "aos.local.taskhub", "--db", str(path), "--port", str(port)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    return line


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nowhere" / "hub.db")


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    path.write_bytes(b"these are my notes, not a database. " * 100)
    assert "not a database" in refusal(path)
    assert path.read_bytes().startswith(b"these are my notes")


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    assert "not a task hub" in refusal(path)


def test_a_corrupt_database_is_refused(hub: HubProcess) -> None:
    with hub.client() as client:
        for n in range(30):
            client.schedule_new_orchestration("nobody-runs-this", input="z" * 5000, instance_id=f"i{n}")
    assert hub.stop() == 0
    content = bytearray(hub.path.read_bytes())
    content[4096 * 3 : 4096 * 12] = b"\xa5" * (4096 * 9)
    hub.path.write_bytes(content)
    assert str(hub.path) in refusal(hub.path)


def test_a_database_of_a_newer_version_is_refused(hub: HubProcess) -> None:
    assert hub.stop() == 0
    with sqlite3.connect(hub.path) as connection:
        connection.execute("PRAGMA user_version=99")
    assert "newer version" in refusal(hub.path)


def test_a_database_in_use_is_refused(hub: HubProcess) -> None:
    assert "another process" in refusal(hub.path)


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        assert str(port) in refusal(tmp_path / "hub.db", port)


def test_instances_past_their_retention_are_purged_by_the_process(hub: HubProcess) -> None:
    with hub.client() as client:
        for name in ("old", "recent", "running"):
            client.schedule_new_orchestration("nobody-runs-this", instance_id=name)
            if name != "running":
                client.terminate_orchestration(name)
    hub.kill()
    with sqlite3.connect(hub.path) as connection:
        connection.execute("UPDATE instances SET completed = completed - 172800000000 WHERE id = 'old'")
    hub.options = ("--retention", "1d")
    hub.start()
    with hub.client() as client:
        until(lambda: client.get_orchestration_state("old") is None)
        assert client.get_orchestration_state("recent")
        assert client.get_orchestration_state("running")


def test_clients_can_wait_through_a_restart(hub: HubProcess) -> None:
    with hub.client() as client:
        client.schedule_new_orchestration(chain, input=2, instance_id="patient")
    hub.kill()
    hub.start()
    answers: list[object] = []
    running = worker(hub.address, *WORK)
    try:
        with hub.client() as client:
            waits = [
                threading.Thread(target=lambda: answers.append(result(client, "patient"))) for _ in range(5)
            ]
            for wait in waits:
                wait.start()
            for wait in waits:
                wait.join()
    finally:
        running.stop()
    assert answers == [2] * 5
