"""The Functions app of AOS as it is deployed, in a hurry and with failpoints.

What it waits for by the minute in production is waited for by the second here; nothing else differs.
"""

import os
from typing import Any

import azure.durable_functions as df
import azure.functions as func
import failpoints

_timer_trigger = func.Blueprint.timer_trigger


def _hurried(self: func.Blueprint, arg_name: str, schedule: str, **more: Any) -> Any:
    often = schedule.replace("*/20 ", "* ")
    return _timer_trigger(self, arg_name, often, **more)


setattr(func.Blueprint, "timer_trigger", _hurried)  # noqa: B010 - a type checker would refuse it

from aos.functions import (  # noqa: E402 - the schedules are read while the timers are imported
    activities,
    entities,
    http,
    orchestrators,
    service_bus,
    step_shell,
    timers,
    workflow_shell,
)
from aos.services.steps import tool_calls  # noqa: E402 - as above

step_shell.FIRST_POLL_S = float(os.environ.get("LAB_FIRST_POLL_S", "1"))
timers.UNANSWERED_S = 1.0
tool_calls.LEASE_MARGIN_S = 0.5
workflow_shell.MAX_TURNS = int(os.environ.get("LAB_MAX_TURNS", workflow_shell.MAX_TURNS))
failpoints.install(failpoints.WORKER)

app = df.DFApp()
for module in (orchestrators, activities, entities, service_bus, timers, http):
    app.register_functions(module.blueprint)
