"""The Python that runs the app: the host's own, or that of an environment which the app has to itself."""

import asyncio
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

from aos.local.host.errors import HostError

_OLDEST = (3, 13)  # of the Functions worker library, and of this package
_WORKER_LIBRARY = "azure-functions-runtime"
_EVENT_LOOP = "uvloop"
_ANSWER_TIMEOUT_S = 30.0
_QUESTION = """
import importlib.metadata, json, sys

def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None

print(json.dumps([sys.version_info[:2], {name: version(name) for name in sys.argv[1:]}]))
"""


async def interpreter(chosen: Path | None) -> str:
    """The Python to run the app with, by default this one; `HostError` says what a chosen one lacks."""
    if chosen is None:
        return sys.executable
    python = str(Path.cwd() / chosen)  # not resolved: the link is what makes it that environment's
    version, packages = await _ask(python)
    if tuple(version) < _OLDEST:
        raise HostError(
            f"{chosen} is Python {'.'.join(map(str, version))}: the Functions worker library needs"
            f" {'.'.join(map(str, _OLDEST))} or later"
        )
    wanted = importlib.metadata.version(_WORKER_LIBRARY)
    missing = [f"{_WORKER_LIBRARY}=={wanted}"] if packages[_WORKER_LIBRARY] != wanted else []
    missing += [] if packages[_EVENT_LOOP] else [_EVENT_LOOP]
    if missing:
        raise HostError(
            f"the environment of {chosen} lacks what runs the app: install it with"
            f" `{chosen} -m pip install {' '.join(missing)}`"
        )
    return python


async def _ask(python: str) -> tuple[list[int], dict[str, str | None]]:
    """The version of an interpreter, and of packages in its environment."""
    try:
        process = await asyncio.create_subprocess_exec(
            python, "-c", _QUESTION, _WORKER_LIBRARY, _EVENT_LOOP,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    except OSError as error:
        raise HostError(f"cannot run {python}: {error.strerror}") from error
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            answer, _ = await process.communicate()
        found: tuple[list[int], dict[str, Any]] = json.loads(answer)
    except (TimeoutError, ValueError) as error:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise HostError(f"{python} does not answer as a Python 3 interpreter does") from error
    return found
