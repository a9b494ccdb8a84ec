"""Retry policies: how often and how soon an invocation that failed is made again.

Azure Functions has them for the triggers of timers, Event Hubs, Kafka and Cosmos DB alone.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aos.local.host.calls import Failure

STRATEGIES = ("fixed_delay", "exponential_backoff")
_JITTER = 0.2


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """At most `max_retries` times again (`None`: for ever), after `minimum_s` up to `maximum_s`.

    Both are the same for a fixed delay.
    """

    max_retries: int | None
    minimum_s: float
    maximum_s: float

    def allows(self, attempt: int) -> bool:
        """Whether there is an attempt with this number; the first retry is 1."""
        return self.max_retries is None or attempt <= self.max_retries

    def delay_s(self, attempt: int, draw: Callable[[float, float], float] = random.uniform) -> float:
        """How long to wait before this attempt: the minimum, then twice as much more each time."""
        if attempt == 1:
            return self.minimum_s
        doubled = 2.0 ** min(attempt - 2, 64) * self.minimum_s
        return min(self.maximum_s, self.minimum_s + draw(1 - _JITTER, 1 + _JITTER) * doubled)


@dataclass(frozen=True, slots=True)
class Retry:
    """What a function is told of the retries of its invocation: which one this is, and what failed before."""

    count: int
    policy: RetryPolicy
    failure: Failure | None

    def head(self) -> dict[str, Any]:
        """As the worker gets it."""
        most = self.policy.max_retries
        failure = self.failure
        return {
            "count": self.count,
            "max": -1 if most is None else most,
            "failure": {"message": failure.line, "trace": failure.trace} if failure else None,
        }


def retry_policy(described: Mapping[str, Any]) -> RetryPolicy:
    """The policy in a function's description or host.json, seconds already numbers.

    ValueError says what is wrong with it.
    """
    strategy, most = described.get("strategy"), described.get("max")
    if strategy not in STRATEGIES:
        raise ValueError(f"its strategy is {strategy!r}: it must be {' or '.join(STRATEGIES)}")
    if not isinstance(most, int) or isinstance(most, bool) or most < -1:
        raise ValueError(
            f"its maximum number of retries is {most!r}: it must be a whole number, or -1 for no limit"
        )
    names = ("delay", "delay") if strategy == "fixed_delay" else ("minimum", "maximum")
    minimum, maximum = (described.get(name) for name in names)
    if minimum is None or maximum is None:
        raise ValueError(f"the {strategy} strategy needs its {' and '.join(dict.fromkeys(names))} interval")
    if minimum > maximum:
        raise ValueError(f"its minimum interval ({minimum:g} s) is longer than its maximum ({maximum:g} s)")
    return RetryPolicy(None if most == -1 else most, float(minimum), float(maximum))
