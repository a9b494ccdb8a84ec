"""The app's log records, sent to the host with the id of the invocation that wrote them."""

import logging
from collections.abc import Callable

from aos.local.host.worker.runtime import invocation_id_cv

_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "information": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "none": logging.CRITICAL + 1,
}
_SILENT = logging.CRITICAL + 1
_LIBRARY = "azure.functions"  # the worker library, which reports failures that the host reports too
# Libraries that speak for each turn or request.
_QUIET = {"azure": logging.WARNING, "durabletask": logging.WARNING, "httpx": logging.WARNING}


class HostHandler(logging.Handler):
    """Passes records on to `send(level, logger, invocation id, message)`."""

    def __init__(self, send: Callable[[str, str, str | None, str], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Format here: the arguments may not outlive the call."""
        try:
            message = self.format(record)
        except Exception:  # noqa: BLE001 - logging's own contract: report, never raise into the app
            self.handleError(record)
            return
        self._send(record.levelname, record.name, invocation_id_cv.get(), message)


def install(send: Callable[[str, str, str | None, str], None], level: str, *, verbose: bool) -> None:
    """Send the root logger's records to the host, from `level` (a name of host.json) upwards."""
    root = logging.getLogger()
    root.addHandler(HostHandler(send))
    root.setLevel(_LEVELS.get(level.lower(), logging.INFO))
    logging.getLogger(_LIBRARY).setLevel(_SILENT)
    if not verbose:
        for name, threshold in _QUIET.items():
            logging.getLogger(name).setLevel(threshold)
