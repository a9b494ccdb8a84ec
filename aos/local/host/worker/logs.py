"""The app's log records, sent to the host with the id of the invocation that wrote them."""

import logging
import os
import threading
from collections.abc import Callable, Mapping

from aos.local.host.loglevels import LEVELS, LogLevels, user_category
from aos.local.host.worker.runtime import invocation_id_cv, invocation_id_local

_PYTHON = {
    "trace": logging.NOTSET + 1,
    "debug": logging.DEBUG,
    "information": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "none": logging.CRITICAL + 1,
}
_WORKER = "Worker"  # the category of what no function logged
_SILENT = logging.CRITICAL + 1
_LIBRARY = "azure.functions"  # the worker library, which reports failures that the host reports too
# Libraries that speak for each turn or request. The durable SDK's logger has a level of its own: the SDK asks
# for that level, not for the one in effect, before it puts together what nobody is to read.
_QUIET = dict.fromkeys(("azure", "durabletask", "httpx", "azure.durable_functions.worker"), logging.WARNING)


class HostHandler(logging.Handler):
    """Passes records on to `send(level, logger, invocation id, message)`, as the levels have it.

    `running` gives the function's name by invocation id.
    """

    def __init__(
        self,
        send: Callable[[str, str, str | None, str], None],
        levels: LogLevels,
        running: Mapping[str, str],
    ) -> None:
        super().__init__()
        self._send = send
        self._levels = levels
        self._running = running

    def emit(self, record: logging.LogRecord) -> None:
        """Format here: the arguments may not outlive the call."""
        invocation_id = _invocation_id()
        name = self._running.get(invocation_id or "")
        if not self._levels.allows(user_category(name) if name else _WORKER, _level(record.levelno)):
            return
        try:
            message = self.format(record)
        except Exception:  # noqa: BLE001 - logging's own contract: report, never raise into the app
            self.handleError(record)
            return
        self._send(record.levelname, record.name, invocation_id, message)


def _invocation_id() -> str | None:
    """The invocation that logs; a thread of its own says so by `context.thread_local_storage`."""
    current: str | None = invocation_id_cv.get()
    if current is None and threading.current_thread() is not threading.main_thread():
        current = getattr(invocation_id_local, "invocation_id", None)
    return current


def _level(number: int) -> str:
    return next((name for name in reversed(LEVELS[:-1]) if number >= _PYTHON[name]), LEVELS[0])


def root_level(levels: LogLevels, settings: Mapping[str, str]) -> int:
    """The lowest level that any category asks for; below INFO only with PYTHON_ENABLE_DEBUG_LOGGING."""
    asked = _PYTHON[levels.lowest]
    debugging = settings.get("PYTHON_ENABLE_DEBUG_LOGGING", "").lower() in ("true", "1")
    return asked if debugging else max(asked, logging.INFO)


def install(
    send: Callable[[str, str, str | None, str], None],
    levels: LogLevels,
    running: Mapping[str, str],
    *,
    verbose: bool,
) -> None:
    """Send the root logger's records to the host."""
    root = logging.getLogger()
    root.addHandler(HostHandler(send, levels, running))
    root.setLevel(root_level(levels, os.environ))
    library = logging.getLogger(_LIBRARY)
    if verbose:
        library.addFilter(lambda record: record.levelno < logging.ERROR)
    else:
        library.setLevel(_SILENT)
        for name, threshold in _QUIET.items():
            logging.getLogger(name).setLevel(threshold)
