"""On a process's path: whatever is logged at whatever level, by anybody, is also written to EVERY_RECORD."""

import logging
import os
import threading
from pathlib import Path

_to = Path(os.environ["EVERY_RECORD"]).open("a", buffering=1)  # noqa: SIM115 - as long as the process lives
_writing = threading.local()
_handle = logging.Logger.callHandlers


def _written(logger: logging.Logger, record: logging.LogRecord) -> None:
    if not getattr(_writing, "now", False):
        _writing.now = True
        try:
            _to.write(f"{record.levelname} {logging.Formatter('%(name)s: %(message)s').format(record)}\n")
        finally:
            _writing.now = False
    if record.levelno >= logging.INFO:
        _handle(logger, record)


logging.Logger.isEnabledFor = lambda _logger, _level: True  # type: ignore[method-assign]
logging.Logger.callHandlers = _written  # type: ignore[method-assign]
