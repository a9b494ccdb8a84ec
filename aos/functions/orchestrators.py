"""The orchestrator functions: thin shells around the kernel's reducers."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import azure.durable_functions as df
from durabletask.task import OrchestrationContext, Task

from aos.functions.step_shell import StepShell
from aos.functions.workflow_shell import WorkflowShell

blueprint = df.Blueprint()


@blueprint.orchestration_trigger(context_name="context")
def workflow(
    context: OrchestrationContext, start: dict[str, Any]
) -> Generator[Task[Any], Any, dict[str, Any]]:
    """Run a workflow; the instance id is the run's."""
    return (yield from WorkflowShell(context, start).run())


@blueprint.orchestration_trigger(context_name="context")
def agent_step(
    context: OrchestrationContext, work: dict[str, Any]
) -> Generator[Task[Any], Any, dict[str, Any]]:
    """Run one attempt of a step, or of its compensation."""
    return (yield from StepShell(context, work).run())
