"""What is measured: the same orchestrators everywhere, whose activity does nothing."""

from collections.abc import Generator
from typing import Any

from durabletask.task import OrchestrationContext, Task, when_all

CHAIN = 5
ACTIVITY = "step"


def one(context: OrchestrationContext, value: int) -> Generator[Task[Any], Any, int]:
    """Call one activity."""
    result: int = yield context.call_activity(ACTIVITY, input=value)
    return result


def chain(context: OrchestrationContext, value: int) -> Generator[Task[Any], Any, int]:
    """Call five activities, one after the other."""
    for _ in range(CHAIN):
        value = yield context.call_activity(ACTIVITY, input=value)
    return value


def fan(context: OrchestrationContext, width: int) -> Generator[Task[Any], Any, int]:
    """Call `width` activities at once."""
    results = yield when_all([context.call_activity(ACTIVITY, input=0) for _ in range(width)])
    return sum(results)
