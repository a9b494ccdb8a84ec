"""The time, as a value that tests can move."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

type Clock = Callable[[], float]
"""Returns unix seconds."""

system_clock: Clock = time.time


def timestamp(at: float) -> str:
    """Return ``at`` as RFC 3339 in UTC with milliseconds, the form in which facts carry it."""
    whole = datetime.fromtimestamp(at, UTC)
    return whole.strftime("%Y-%m-%dT%H:%M:%S.") + f"{whole.microsecond // 1000:03d}Z"
