"""What libraries log: as much of it as somebody will read.

In Azure the worker passes on whatever any library says from INFO on, and each record is stored and paid for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_SPEAK_OF_EVERY_REQUEST = (
    "azure.core",
    "azure.durable_functions",
    "azure.durable_functions.worker",  # has a level of its own
    "azure.identity",
    "azure.servicebus",
    "httpx",
    "httpx2",
)
_EXPORTERS = ("opentelemetry.", "azure.monitor.")
TOLD_EVERY_S = 600.0


def quiet_libraries() -> None:
    """Let libraries warn; what they say of each request is left out, unless somebody set their levels."""
    for name in _SPEAK_OF_EVERY_REQUEST:
        logger = logging.getLogger(name)
        if logger.level in (logging.NOTSET, logging.INFO):
            logger.setLevel(logging.WARNING)


def quiet_exporters() -> None:
    """Have each complaint of the exporters told once in ten minutes: a collector may be away for days.

    Call it when they have been made: it finds their loggers by name.
    """
    rarely = Rarely()
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(_EXPORTERS):
            logging.getLogger(name).addFilter(rarely)


class Rarely(logging.Filter):
    """Lets a record pass if none of its logger and line of code did within ten minutes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._told: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the record passes."""
        place, now = (record.name, record.lineno), self._clock()
        if now - self._told.get(place, float("-inf")) < TOLD_EVERY_S:
            return False
        self._told[place] = now
        return True
