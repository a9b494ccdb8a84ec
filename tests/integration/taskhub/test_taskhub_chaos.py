"""Mixed work while the hub and its workers are killed at random, by a seed that repeats it."""

import json
import random
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
import pytest
from durabletask.client import OrchestrationStatus, TaskHubGrpcClient
from durabletask.entities import EntityInstanceId
from taskhub_live import HubProcess, until

ROUNDS = 15
WAIT_S = 60

# What is started: its input, and what must come of it.
WORK: dict[str, Callable[[random.Random], tuple[object, object]]] = {
    "chain": lambda _: (6, 6),
    "fan": lambda _: (12, sum(range(1, 13))),
    "family": lambda _: (3, 9),
    "deposit": lambda _: (4, 4),
    "transfer": lambda chance: ([chance.choice("abc"), chance.choice("abc")], "moved"),
    "renew": lambda _: (0, 4),
}


class Chaos:
    """A hub and two workers, each in its process, any of which may be killed."""

    def __init__(self, path: Path, chance: random.Random) -> None:
        self.chance = chance
        self.hub = HubProcess(path)
        self.workers = deque(self.new_worker() for _ in range(2))
        self.client = self.hub.client()

    def new_worker(self) -> "subprocess.Popen[bytes]":
        script = Path(__file__).with_name("taskhub_worker.py")
        return subprocess.Popen([sys.executable, str(script), self.hub.address], stdin=subprocess.PIPE)

    def strike(self) -> None:
        """Kill the hub, or a worker, or let them be for a moment."""
        fate = self.chance.random()
        if fate < 0.3:
            self.hub.kill()
            self.hub.start()
            self.client = self.hub.client()
        elif fate < 0.5:
            victim = self.workers.popleft()
            victim.kill()
            victim.wait()
            self.workers.append(self.new_worker())
        else:
            time.sleep(self.chance.random() * 0.2)

    def close(self) -> None:
        for process in (*self.workers, self.hub.process):
            process.kill()
            process.wait()


def start(client: TaskHubGrpcClient, name: str, value: object, instance_id: str) -> None:
    """Start until it is acknowledged; a start whose answer was lost is refused the second time."""
    policy = pb.OrchestrationIdReusePolicy()

    def started() -> bool:
        try:
            client.schedule_new_orchestration(
                name, input=value, instance_id=instance_id, reuse_id_policy=policy
            )
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.ALREADY_EXISTS
        return True

    until(started)


def balance(client: TaskHubGrpcClient, name: str) -> int:
    entity = client.get_entity(EntityInstanceId("account", name))
    return (entity.get_typed_state(int) or 0) if entity else 0


@pytest.mark.parametrize("seed", [7])
def test_killed_hubs_and_workers_lose_nothing_and_double_nothing(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    chaos = Chaos(tmp_path / "hub.db", chance)
    try:
        expected: dict[str, object] = {}
        for number in range(ROUNDS):
            for name in chance.choices(sorted(WORK), k=4):
                value, outcome = WORK[name](chance)
                instance_id = f"{name}-{len(expected)}"
                start(chaos.client, name, value, instance_id)
                expected[instance_id] = outcome
            if number < ROUNDS - 1:
                chaos.strike()
        for instance_id, outcome in expected.items():
            state = chaos.client.wait_for_orchestration_completion(instance_id, timeout=WAIT_S)
            assert state is not None, f"{instance_id} is lost, seed {seed}"
            assert state.runtime_status is OrchestrationStatus.COMPLETED, f"seed {seed}: {state}"
            assert json.loads(state.serialized_output or "null") == outcome, f"{instance_id}, seed {seed}"
        deposits = sum(4 for instance_id in expected if instance_id.startswith("deposit"))
        assert balance(chaos.client, "bank") == deposits, f"seed {seed}"
        assert sum(balance(chaos.client, name) for name in "abc") == 0, f"seed {seed}"
    finally:
        chaos.close()
