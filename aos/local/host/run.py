"""Running a host from the command line: signals in, exit code out."""

import asyncio
import contextlib
import os
import signal
import traceback
from collections.abc import Coroutine
from typing import Any

import uvloop

from aos.local.host.console import Console
from aos.local.host.errors import HostError
from aos.local.host.host import Host
from aos.local.host.options import HostOptions


def run_host(options: HostOptions) -> int:
    """Run until SIGINT or SIGTERM; the exit code. A second signal ends everything at once."""
    return uvloop.run(_run(options))


async def _run(options: HostOptions) -> int:
    stopping = asyncio.Event()
    hosts: list[Host] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _on_signal, number, stopping, hosts)
    console = Console(verbose=options.verbose, stream=options.log)
    try:
        host = await _unless(stopping, Host.start(options))
        if host is None:
            return 0
        hosts.append(host)
        try:
            await _unless(stopping, host.wait())
        finally:
            await host.stop()
    except HostError as error:
        console.say(f"error: {error.message}")
        console.flush()
        return error.code
    except Exception as error:  # noqa: BLE001 - a fault of the host itself still ends in a line and a code
        console.say(
            f"error: the host failed: {type(error).__name__}: {error}\n{traceback.format_exc()}".rstrip()
        )
        console.flush()
        return 1
    return 0


def _on_signal(number: int, stopping: asyncio.Event, hosts: list[Host]) -> None:
    if stopping.is_set():
        for host in hosts:
            host.kill()
        os._exit(128 + number)
    stopping.set()


async def _unless[T](stopping: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The work's result, or `None` when a signal came first; then the work is cancelled."""
    task, signalled = asyncio.create_task(work), asyncio.create_task(stopping.wait())
    await asyncio.wait([task, signalled], return_when=asyncio.FIRST_COMPLETED)
    signalled.cancel()
    if task.done():
        return task.result()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return None
