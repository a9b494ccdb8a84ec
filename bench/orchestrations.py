"""What is measured: the same functions everywhere, which do next to nothing."""

import time
from collections.abc import Generator
from typing import Any

from durabletask.entities import EntityContext
from durabletask.task import OrchestrationContext, Task, when_all

CHAIN = 5
ACTIVITY = "step"
ENTITY = "counter"

began: list[float] = []
"""When each activity and operation of this process began, in seconds of `time.perf_counter`.

Whoever reads it clears it before.
"""


def begun(value: int) -> int:
    """The body of the activity."""
    began.append(time.perf_counter())
    return value + 1


def one(context: OrchestrationContext, value: int) -> Generator[Task[Any], Any, int]:
    """Call one activity."""
    result: int = yield context.call_activity(ACTIVITY, input=value)
    return result


def chain(context: OrchestrationContext, value: int) -> Generator[Task[Any], Any, int]:
    """Call five activities, one after the other."""
    for _ in range(CHAIN):
        value = yield context.call_activity(ACTIVITY, input=value)
    return value


def long(context: OrchestrationContext, count: int) -> Generator[Task[Any], Any, int]:
    """Call `count` activities, one after the other."""
    value = 0
    for _ in range(count):
        value = yield context.call_activity(ACTIVITY, input=value)
    return value


def fan(context: OrchestrationContext, width: int) -> Generator[Task[Any], Any, int]:
    """Call `width` activities at once."""
    results = yield when_all([context.call_activity(ACTIVITY, input=0) for _ in range(width)])
    return sum(results)


def counter(context: EntityContext, value: int) -> int:
    """An entity that adds what it is sent."""
    total = begun(context.get_state(int, 0) + value - 1)
    context.set_state(total)
    return total
