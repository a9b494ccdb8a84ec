"""Several worker processes on one hub, one of which is killed; hundreds of clients that wait."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
import pytest
from durabletask.client import OrchestrationStatus, TaskHubGrpcClient
from durabletask.entities import EntityInstanceId
from taskhub_live import WAIT_S, HubProcess, until

WORKERS = 3
WAITS = 500


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    made = HubProcess(tmp_path / "hub.db")
    yield made
    made.kill()


@pytest.fixture
def workers(hub: HubProcess) -> Iterator["list[subprocess.Popen[bytes]]"]:
    script = str(Path(__file__).with_name("taskhub_worker.py"))
    made = [
        subprocess.Popen([sys.executable, script, hub.address], stdin=subprocess.PIPE) for _ in range(WORKERS)
    ]
    yield made
    for process in made:
        process.kill()
        process.wait()


def outcome(client: TaskHubGrpcClient, instance_id: str) -> object:
    state = client.wait_for_orchestration_completion(instance_id, timeout=WAIT_S)
    assert state is not None
    assert state.runtime_status is OrchestrationStatus.COMPLETED, state
    return json.loads(state.serialized_output or "null")


def balance(client: TaskHubGrpcClient, name: str) -> int:
    entity = client.get_entity(EntityInstanceId("account", name))
    return (entity.get_typed_state(int) or 0) if entity else 0


def completions(client: TaskHubGrpcClient, instance_id: str) -> Counter[int]:
    """How often each activity of an instance has completed, by its task."""
    events = client.get_orchestration_history(instance_id)
    return Counter(each.task_scheduled_id for each in events if type(each).__name__ == "TaskCompletedEvent")


def test_killing_one_of_three_workers_loses_and_doubles_nothing(
    hub: HubProcess, workers: "list[subprocess.Popen[bytes]]"
) -> None:
    with hub.client() as client:
        expected: dict[str, object] = {}

        def start(name: str, value: object, result: object) -> None:
            instance_id = f"{name}-{len(expected)}"
            client.schedule_new_orchestration(name, input=value, instance_id=instance_id)
            expected[instance_id] = result

        for number in range(12):
            start("chain", 20, 20)
            start("deposit", 10, 10)
            start("transfer", [["a", "b"], ["b", "c"], ["c", "a"]][number % 3], "moved")
        until(lambda: balance(client, "bank") > 30)
        workers[0].kill()
        assert {each: outcome(client, each) for each in expected} == expected
        assert balance(client, "bank") == 12 * 10
        assert sum(balance(client, name) for name in "abc") == 0
        for instance_id in expected:
            if instance_id.startswith("chain"):
                assert list(completions(client, instance_id).values()) == [1] * 20


def test_hundreds_of_waiting_clients_cost_the_hub_no_thread_and_delay_nobody(hub: HubProcess) -> None:
    """The waits are on connections of their own, as those of separate clients are."""
    threads = Path(f"/proc/{hub.process.pid}/task")
    with hub.client() as client:
        client.schedule_new_orchestration("nobody-runs-this", instance_id="waited-for")
        request = pb.GetInstanceRequest(instanceId="waited-for").SerializeToString()
        channels = [
            grpc.insecure_channel(hub.address, [("grpc.use_local_subchannel_pool", 1)]) for _ in range(20)
        ]
        waits = [
            channels[n % len(channels)]
            .unary_unary("/TaskHubSidecarService/WaitForInstanceCompletion")
            .future(request, timeout=WAIT_S)
            for n in range(WAITS)
        ]
        client.schedule_new_orchestration("nobody-runs-this", instance_id="not-delayed")
        before = len(list(threads.iterdir()))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(client.get_orchestration_state, ["not-delayed"] * 100))
        assert len(list(threads.iterdir())) <= before + 8 < 60
        assert not any(wait.done() for wait in waits)
        client.terminate_orchestration("waited-for", output="enough")
        answers = [pb.GetInstanceResponse.FromString(wait.result()) for wait in waits]
        for channel in channels:
            channel.close()
    ended = {answer.orchestrationState.orchestrationStatus for answer in answers}
    assert ended == {pb.ORCHESTRATION_STATUS_TERMINATED}
