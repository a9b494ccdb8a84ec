"""The systems under test, each in processes of its own, started and ended here."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx

type Measure = Callable[[str, int], list[float]]

ROOT = Path(__file__).parent.parent
APP = Path(__file__).parent / "app"
_SERVING = re.compile(r"serving .* at (http://\S+), ready")
_ADDRESS = re.compile(r" at (127\.0\.0\.1:\d+)$")


@contextlib.contextmanager
def our_host(folder: Path, workers: int = 1) -> Iterator[Measure]:
    """Our host with its task hub and workers; the load runs inside the app."""
    with host(APP, folder, workers=workers) as url, httpx.Client(base_url=url, timeout=300) as http:

        def measure(what: str, count: int) -> list[float]:
            answer = http.post(f"/measure/{what}/{count}").raise_for_status()
            result: list[float] = answer.json()
            return result

        yield measure


@contextlib.contextmanager
def our_hub(folder: Path) -> Iterator[Measure]:
    """Our task hub alone, a plain SDK worker over gRPC."""
    arguments = ["-m", "aos.local.taskhub", "--db", str(folder / "hub.db"), "--port", "0"]
    with (
        _process(arguments, _ADDRESS) as address,
        _asked(["-m", "bench.plain", address, "64", "64"]) as measure,
    ):
        yield measure


@contextlib.contextmanager
def stock_backend(_: Path) -> Iterator[Measure]:
    """durabletask's in-memory backend, with the same worker.

    Its server has ten threads. One serves the worker's stream and each wait holds one: it bears few at once.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (
        _process(["-m", "bench.stock", str(port)], _ADDRESS) as address,
        _asked(["-m", "bench.plain", address, "6", "1"]) as measure,
    ):
        yield measure


@contextlib.contextmanager
def dbos(folder: Path) -> Iterator[Measure]:
    """DBOS on SQLite, in one process with the load."""
    with _asked(["-m", "bench.peer", str(folder)]) as measure:
        yield measure


@contextlib.contextmanager
def host(app: Path, folder: Path, env: Mapping[str, str] | None = None, workers: int = 1) -> Iterator[str]:
    """Run an app in our host; its URL."""
    arguments = ["-m", "aos.local.host", "--app", str(app), "--data", str(folder), "--port", "0"]
    with _process([*arguments, "--grace", "1", "--workers", str(workers)], _SERVING, env) as url:
        yield url


@contextlib.contextmanager
def _asked(arguments: list[str]) -> Iterator[Measure]:
    """Run a process that measures when asked on its standard input."""
    with _started(arguments) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        requests, answers = process.stdin, process.stdout

        def measure(what: str, count: int) -> list[float]:
            requests.write(json.dumps({"what": what, "count": count}) + "\n")
            requests.flush()
            line = answers.readline()
            if not line:
                raise RuntimeError(f"{' '.join(arguments)} ended")
            result: list[float] = json.loads(line)
            return result

        yield measure
        requests.close()
        process.wait(20)


@contextlib.contextmanager
def _process(
    arguments: list[str], ready: re.Pattern[str], env: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run a server whose output tells where it serves; that place."""
    with _started(arguments, env, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if found := ready.search(line.rstrip()):
                break
        else:
            raise RuntimeError(f"{' '.join(arguments)} did not start:\n{''.join(said)}")
        reader = threading.Thread(target=_drain, args=(process.stdout,), daemon=True)
        reader.start()
        yield found[1]


def _drain(lines: Iterator[str]) -> None:
    """Read on, as a terminal would: a full pipe would stop the server."""
    for _ in lines:
        pass


@contextlib.contextmanager
def _started(
    arguments: list[str], env: Mapping[str, str] | None = None, *, stderr: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
