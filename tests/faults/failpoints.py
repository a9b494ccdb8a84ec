"""Failpoints, put around methods of the running system from outside: its own code knows of none.

A failpoint is armed by a file of its name in the folder that `LAB_FAILPOINTS` names. The file counts
passages down; when they are used up it is renamed to `*.fired` and what it asks for is done, once:

- ``kill-worker``, ``kill-host``, ``kill-both``: SIGKILL;
- ``hold``: the passage waits until there is a file `release`;
- ``skip``: the method is not called and gives None; ``twice``: it is called two times at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import inspect
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = "LAB_FAILPOINTS"
WORKER = {
    "accept": ("aos.services.runs.runs", "Runs.accept"),
    "remember": ("aos.services.runs.doorbells", "Doorbells.remember"),
    "bell": ("aos.services.runs.doorbells", "Doorbells.ring"),
    "begin": ("aos.functions.activities", "_budgets"),
    "prepare": ("aos.services.steps.rows", "StepRows.write_prepared"),
    "dispatch": ("aos.services.messaging.steps", "ServiceBusStepQueue.send"),
    "reserve": ("aos.kernel.scheduling.budget", "advance"),
    "assign": ("aos.functions.entities", "first_assignment"),
    "handle": ("aos.services.steps.worker", "StepWorker.handle"),
    "journal": ("aos.services.steps.rows", "StepRows.write_turn"),
    "claim": ("aos.services.effects.effects", "Effects.claim"),
    "act": ("aos.sdk.tools", "Tool.call"),
    "settle": ("aos.services.effects.effects", "Effects.settle"),
    "result": ("aos.services.steps.rows", "StepRows.write_result"),
    "ring": ("aos.services.steps.worker", "StepWorker._ring"),
    "raise": ("aos.functions.durable_client", "DurableEngine.raise_event"),
    "append": ("aos.services.storage.local.logs", "LocalLogs.append"),
    "decide": ("aos.services.runs.approvals", "Approvals.decide"),
    "checkpoint": ("aos.services.audit.run_log", "RunLog.checkpoint"),
    "end": ("aos.services.runs.doorbells", "Doorbells.answered_all"),
}
"""Passages in the worker, where functions run."""
HOST = {
    "stored": ("aos.local.servicebus.journal", "Journal._commit"),
    "receive": ("aos.local.servicebus.receiver", "Receiver.receive"),
    "complete": ("aos.local.servicebus.receiver", "Receiver.complete"),
    "start": ("aos.local.taskhub.hub", "TaskHub.start_instance"),
    "event": ("aos.local.taskhub.hub", "TaskHub.raise_event"),
    "activity": ("aos.local.taskhub.hub", "TaskHub.post_activity"),
    "turn": ("aos.local.taskhub.hub", "TaskHub.post_turn"),
    "entity": ("aos.local.taskhub.hub", "TaskHub.post_entity"),
    "commit": ("aos.local.taskhub.journal", "Journal._upsert"),
}
"""Passages in the host, where the hub and the broker are."""

_lock = threading.Lock()


def install(points: dict[str, tuple[str, str]]) -> None:
    """Put each failpoint around its method; `NAME.before` and `NAME.after` can be armed then."""
    for name, (module, path) in points.items():
        *owners, method = path.split(".")
        owner: Any = functools.reduce(getattr, owners, importlib.import_module(module))
        setattr(owner, method, _around(name, getattr(owner, method)))


def _around(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def passing(*args: Any, **kwargs: Any) -> Any:
            order = await _passage(f"{name}.before")
            if order == "skip":
                return None
            if order == "twice":
                result, _ = await asyncio.gather(original(*args, **kwargs), original(*args, **kwargs))
            else:
                result = await original(*args, **kwargs)
            await _passage(f"{name}.after")
            return result

        return passing

    @functools.wraps(original)
    def passing_at_once(*args: Any, **kwargs: Any) -> Any:
        _reach(f"{name}.before")
        result = original(*args, **kwargs)
        _reach(f"{name}.after")
        return result

    return passing_at_once


async def _passage(point: str) -> str | None:
    order = _reach(point)
    while order == "hold" and not (Path(os.environ[FOLDER]) / "release").exists():
        await asyncio.sleep(0.02)
    return order


def _reach(point: str) -> str | None:
    """Count a passage; what is to be done at it, if this is the one."""
    file = Path(os.environ[FOLDER]) / point
    if not file.exists():
        return None
    with _lock:
        try:
            armed: dict[str, Any] = json.loads(file.read_text())
        except FileNotFoundError:
            return None
        armed["passages"] -= 1
        if armed["passages"] > 0:
            file.write_text(json.dumps(armed))
            return None
        if armed["passages"] <= 1 - armed["times"]:
            file.rename(file.with_name(f"{point}.fired"))
        else:
            file.write_text(json.dumps(armed))
    if armed["do"].startswith("kill-"):
        _kill(armed["do"].removeprefix("kill-"))
        return None
    return str(armed["do"])


def _kill(who: str) -> None:
    in_host = Path("/proc/self/cmdline").read_bytes().find(b"failing_host.py") >= 0
    host = os.getpid() if in_host else os.getppid()
    worker = _child() if in_host else os.getpid()
    # Whoever is killed last still runs: the process that executes this goes last.
    order = [worker, host] if in_host else [host, worker]
    doomed: dict[str, set[int | None]] = {"worker": {worker}, "host": {host}, "both": {host, worker}}
    for pid in order:
        if pid in doomed[who] and pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _child() -> int | None:
    for task in Path("/proc/self/task").iterdir():
        children = (task / "children").read_text().split()
        if children:
            return int(children[0])
    return None
