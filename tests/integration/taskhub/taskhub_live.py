"""Hubs to test against: one in this process whose clock can be moved, one in a process of its own."""

import asyncio
import logging
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import grpc
from durabletask.client import TaskHubGrpcClient
from durabletask.grpc_options import GrpcChannelOptions
from durabletask.worker import TaskHubGrpcWorker

from aos.local.taskhub import Server, TaskHub, serve

WAIT_S = 30

_UNLIMITED = GrpcChannelOptions(max_receive_message_length=-1, max_send_message_length=-1)


class ManualClock:
    """A clock that goes only when it is moved."""

    def __init__(self) -> None:
        self._now = time.time_ns() // 1000
        self._moved: list[asyncio.Future[None]] = []

    def now(self) -> int:
        return self._now

    async def sleep_until(self, when: int) -> None:
        while self._now < when:
            moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._moved.append(moved)
            await moved

    def advance(self, by: timedelta) -> None:
        """Move the clock; on the hub's loop."""
        self._now += int(by.total_seconds() * 1_000_000)
        moved, self._moved = self._moved, []
        for future in moved:
            if not future.done():
                future.set_result(None)


class LiveHub:
    """A hub served over gRPC from a thread of this process, with a clock to move."""

    def __init__(self, path: Path, **options: object) -> None:
        self.clock = ManualClock()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.hub: TaskHub
        self._server: Server
        self.run(self._open(path, options))
        self.address = f"127.0.0.1:{self._server.port}"

    async def _open(self, path: Path, options: dict[str, object]) -> None:
        self.hub = await TaskHub.open(path, clock=self.clock, **options)  # type: ignore[arg-type]
        self._server = await serve(self.hub)

    def run[T](self, work: "asyncio.Future[T] | object") -> T:
        """Run a coroutine on the hub's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT_S)  # type: ignore[arg-type]

    def advance(self, by: timedelta) -> None:
        self.loop.call_soon_threadsafe(self.clock.advance, by)

    def client(self) -> TaskHubGrpcClient:
        return TaskHubGrpcClient(host_address=self.address, channel_options=_UNLIMITED)

    def close(self) -> None:
        self.run(self._server.stop(0))
        self.run(self.hub.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class HubProcess:
    """A hub in a process of its own, on one port and one file, that can be killed and started again."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path = path
        self.port = 0
        self.options = options
        self.start()

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "aos.local.taskhub",
            "--db",
            str(self.path),
            "--port",
            str(self.port),
            *self.options,
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "the hub did not start"
        self.address = line.rsplit(" ", 1)[1]
        self.port = int(self.address.rsplit(":", 1)[1])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)

    def limit_file_size(self, size: int) -> None:
        """Let every write beyond this size fail, as on a full disk."""
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def client(self) -> TaskHubGrpcClient:
        """A client that is connected: gRPC keeps away for a while from a port that refused it."""
        made = TaskHubGrpcClient(host_address=self.address, channel_options=_UNLIMITED)
        until(lambda: answers(made))
        return made


def answers(client: TaskHubGrpcClient) -> bool:
    try:
        client.get_orchestration_state("anything")
    except grpc.RpcError:
        return False
    return True


def worker(address: str, *functions: Callable[..., object], **options: object) -> TaskHubGrpcWorker:
    """A running SDK worker; a function is what its name's ending says."""
    made = TaskHubGrpcWorker(host_address=address, channel_options=_UNLIMITED, **options)  # type: ignore[arg-type]
    logging.getLogger("durabletask-worker").setLevel(logging.CRITICAL)
    for function in functions:
        name = function.__name__
        if name.endswith("_activity"):
            made.add_activity(function)
        elif name.endswith("_entity"):
            made.add_entity(function)
        else:
            made.add_orchestrator(function)
    made.start()
    return made


def until(condition: Callable[[], object], within: float = WAIT_S) -> None:
    """Wait for something that only polling can tell."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.01)
