"""A host in a process of its own, as a person would run it."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

APPS = Path(__file__).parent / "apps"
PATIENCE_S = 40.0  # on a busy machine; nothing waits this long when it works
_SERVING = re.compile(r"serving .* at (http://\S+), ready")


def until[T](probe: Callable[[], T], what: str) -> T:
    """The first true answer of `probe`."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        answer = probe()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen")


async def eventually[T](probe: Callable[[], Awaitable[T]], what: str) -> T:
    """The first true answer of an asynchronous `probe`."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        answer = await probe()
        if answer:
            return answer
        await asyncio.sleep(0.02)
    raise AssertionError(f"{what} did not happen")


class HostProcess:
    """A host that was started; `url` is where it serves, `log` what it wrote so far."""

    def __init__(
        self, app: Path, folder: Path, *arguments: str, env: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.trace_file = folder / "trace.txt"
        self._app = app
        self._arguments = arguments
        self._env = {"TRACE": str(self.trace_file), **(env or {})}
        self._logs = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.launch()

    def launch(self) -> None:
        """Start the process (again)."""
        self._logs += 1
        self._log_file = self.folder / f"host-{self._logs}.log"
        command = [sys.executable, "-m", "aos.local.host", "--app", str(self._app), "--port", "0"]
        command += ["--data", str(self.folder / "data"), *self._arguments]
        with self._log_file.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stderr=log,
                stdout=log,
                cwd=Path(__file__).parents[3],
                env={**os.environ, **self._env},
            )

    @property
    def log(self) -> str:
        return self._log_file.read_text(errors="replace")

    @property
    def trace(self) -> list[str]:
        return self.trace_file.read_text().splitlines() if self.trace_file.exists() else []

    def ready(self) -> "HostProcess":
        """Wait until it serves."""

        def served() -> re.Match[str] | None:
            assert self.process.poll() is None, f"the host ended:\n{self.log}"
            return _SERVING.search(self.log)

        found = until(served, f"the host's start ({self._app.name})")
        assert found is not None
        self.url = found[1]
        self.http = httpx.Client(base_url=self.url, timeout=PATIENCE_S)
        return self

    def plain(self) -> httpx.Client:
        """A client that knows nothing but URLs."""
        return httpx.Client(timeout=PATIENCE_S)

    def wait_for_log(self, text: str) -> None:
        until(lambda: text in self.log, f"{text!r} in the log")

    def wait_for_trace(self, start: str, count: int = 1) -> list[str]:
        """The lines of the trace that begin so, once there are enough."""

        def lines() -> list[str]:
            return [line for line in self.trace if line.startswith(start)]

        return until(lambda: lines() if len(lines()) >= count else [], f"{count} x {start!r} in the trace")

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = self.http.get("/admin/host/status").json()
        return document

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for the process to end; its exit code."""
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """As a crash of the machine would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.end()
