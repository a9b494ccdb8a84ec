"""Running `aos` as a process, and the real API in a thread for it to speak to."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "tests" / "unit" / "api"))  # the real API on real storage is served from there

from api_server import INPUT, WORKFLOW, Api, open_api  # noqa: E402 - found by the line above

__all__ = ["AOS", "INPUT", "PATIENCE_S", "WORKFLOW", "Command", "Server", "environment"]

AOS = [sys.executable, "-m", "aos.cli.main"]
PATIENCE_S = 60


def environment(**changes: str) -> dict[str, str]:
    """Return this process's environment without anybody's own AOS settings."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("AOS_")}
    return mine | {"PYTHONPATH": str(ROOT)} | changes


@dataclass
class Command:
    """Runs `aos` as a process of its own, in a folder of its own."""

    folder: Path
    env: dict[str, str]

    def __call__(
        self, *arguments: str, stdin: str = "", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*AOS, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            cwd=self.folder,
            env=self.env | (env or {}),
            check=False,
        )


class Server:
    """The API, served by a thread of this process."""

    def __init__(self, data: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._started: Future[Api] = Future()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve(data)])
        self._thread.start()
        self.api = self._started.result(PATIENCE_S)

    async def _serve(self, data: Path) -> None:
        try:
            async with open_api(data) as api:
                self._started.set_result(api)
                await self._stop.wait()
        except BaseException as error:
            if not self._started.done():
                self._started.set_exception(error)
            raise

    def do[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Do something on the server's side."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_S)
