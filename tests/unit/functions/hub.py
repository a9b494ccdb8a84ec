"""The orchestrators on the SDK's own in-memory hub, with activities that tests write."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from durabletask.client import OrchestrationStatus, TaskHubGrpcClient
from durabletask.testing import create_test_backend
from durabletask.worker import TaskHubGrpcWorker

from aos.functions import entities
from aos.functions.step_shell import StepShell
from aos.functions.workflow_shell import WorkflowShell


@dataclass
class Hub:
    client: TaskHubGrpcClient

    def run(self, orchestrator: str, given: dict[str, Any]) -> Any:
        """Run it to its end; return what it gave."""
        instance = self.client.schedule_new_orchestration(orchestrator, input=given)
        state = self.client.wait_for_orchestration_completion(instance, timeout=30)
        assert state is not None
        assert state.runtime_status is OrchestrationStatus.COMPLETED, state.failure_details
        return state.get_output()


@contextlib.contextmanager
def open_hub(activities: Mapping[str, Callable[[Any], Any]]) -> Iterator[Hub]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    backend = create_test_backend(port=port)
    worker = TaskHubGrpcWorker(host_address=f"127.0.0.1:{port}")
    worker._registry.add_named_orchestrator("workflow", lambda ctx, given: WorkflowShell(ctx, given).run())
    worker._registry.add_named_orchestrator("agent_step", lambda ctx, given: StepShell(ctx, given).run())
    for name, activity in activities.items():
        worker._registry.add_named_activity(name, lambda _, given, act=activity: act(given))
    for entity in (entities.agent, entities.budget):
        function = entity._function.get_user_function()
        worker.add_entity(function.entity_function, name=entity._function.get_function_name())
    worker.start()
    try:
        yield Hub(TaskHubGrpcClient(host_address=f"127.0.0.1:{port}"))
    finally:
        worker.stop()
        backend.stop()
