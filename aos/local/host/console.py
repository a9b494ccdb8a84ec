"""What a person sees: one line per invocation and the worker's output, on standard error."""

import asyncio
import sys
import time
from typing import TextIO

from aos.local.host.loglevels import CONSOLE, LogLevels, function_category

_FAILED = "failed"


class Console:
    """Writes lines in batches, one write per turn of the event loop."""

    def __init__(self, *, verbose: bool, stream: TextIO | None = None) -> None:
        self.verbose = verbose
        self.levels = LogLevels()
        self._stream = stream or sys.stderr
        self._lines: list[str] = []
        self._scheduled = False
        self._second, self._clock = 0, ""  # the time of day is put together once a second

    def say(self, message: str) -> None:
        """A line about the host itself, which no level of host.json hides."""
        self._write("host", message)

    def warn(self, message: str) -> None:
        """A line from the host about something that went wrong and was dealt with."""
        if self.levels.allows("Host", "warning"):
            self._write("host", message)

    def worker(self, line: str, worker: int | None = None) -> None:
        """A line that a worker process printed; `worker` is its number when there are several."""
        if self.levels.allows(CONSOLE, "information"):
            self._write(_numbered("worker", worker), f"| {line}")

    def log(
        self, level: str, logger: str, invocation_id: str | None, message: str, *, worker: int | None = None
    ) -> None:
        """A record logged in a worker."""
        self._write(_numbered("log", worker), f"{level.lower():8} {short(invocation_id)} {logger}: {message}")

    def invocation(
        self,
        kind: str,
        name: str,
        invocation_id: str,
        ms: float,
        *,
        failure: tuple[str, str] | None,
        note: str = "",
        worker: int | None = None,
    ) -> None:
        """The end of an invocation; `failure` is the exception's last line and its traceback."""
        if not self.levels.allows(function_category(name), "error" if failure else "information"):
            return
        outcome = _FAILED if failure else "ok"
        text = f"{name}{' ' + note if note else ''} {short(invocation_id)} {outcome} {ms:.0f} ms"
        if worker is not None:
            text += f" on worker {worker}"
        if failure:
            text += f": {failure[0]}"
            if self.verbose and failure[1]:
                text += "\n" + failure[1].rstrip()
        self._write(kind, text)

    def _write(self, kind: str, text: str) -> None:
        first, *rest = text.split("\n")
        self._lines.append(
            f"{self._stamp()} {kind:<8} {first}\n" + "".join(f"             {line}\n" for line in rest)
        )
        if self._scheduled:
            return
        try:
            asyncio.get_running_loop().call_soon(self.flush)
            self._scheduled = True
        except RuntimeError:
            self.flush()

    def _stamp(self) -> str:
        """The person's own time of day, to the millisecond."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._clock = second, time.strftime("%H:%M:%S", time.localtime(second))
        return f"{self._clock}.{int((now - second) * 1000):03}"

    def flush(self) -> None:
        """Write what is waiting."""
        self._scheduled = False
        text, self._lines = "".join(self._lines), []
        if text:
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):
                self._lines.clear()  # nobody reads standard error any more; the work goes on


def short(invocation_id: str | None) -> str:
    """The part of an invocation's id that lines show."""
    return (invocation_id or "-")[:8]


def _numbered(kind: str, worker: int | None) -> str:
    return kind if worker is None else f"{kind} {worker}"
