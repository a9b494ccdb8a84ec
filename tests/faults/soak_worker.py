"""A worker outside of the host, which takes from its hub over gRPC what the app has no functions for."""

import os
import random
import signal
import time
from collections.abc import Generator
from typing import Any

from durabletask import task
from durabletask.grpc_options import GrpcWorkerResiliencyOptions
from durabletask.worker import TaskHubGrpcWorker
from soak_ledger import Ledger

_LONGEST_S = 0.5
_PATIENT = GrpcWorkerResiliencyOptions(reconnect_backoff_base_seconds=0.2, reconnect_backoff_cap_seconds=1.0)
ledger = Ledger(os.environ["SOAK_LEDGER"])


def distant_step(_: task.ActivityContext, given: dict[str, Any]) -> str:
    """One execution of a step, which takes a while: its token."""
    token = ledger.attempt(given["effect"], given["after"])
    time.sleep(random.random() * _LONGEST_S)
    return token


def distant(context: task.OrchestrationContext, steps: int) -> Generator[task.Task[Any], Any, list[str]]:
    """A chain of steps: their tokens."""
    tokens: list[str] = []
    for number in range(steps):
        given = {"effect": f"{context.instance_id}/{number}", "after": tokens[-1] if tokens else None}
        tokens.append((yield context.call_activity("distant_step", input=given)))
    return tokens


def main() -> None:
    worker = TaskHubGrpcWorker(
        host_address=f"127.0.0.1:{os.environ['SOAK_RPC_PORT']}", resiliency_options=_PATIENT
    )
    worker.add_activity(distant_step)
    worker.add_orchestrator(distant)
    worker.use_work_item_filters()
    worker.start()
    signal.pause()


if __name__ == "__main__":
    main()
