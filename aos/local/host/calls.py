"""One invocation under way in a worker, as the host sees it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aos.local.host.frames import Channel, Kind, Window, credit, credited, unpack


class WorkerLostError(Exception):
    """The worker process ended while it was running an invocation."""

    def __init__(self) -> None:
        super().__init__("the worker process ended")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an invocation failed: the exception's unqualified type, its message and traceback."""

    type: str
    message: str
    trace: str = ""

    @property
    def line(self) -> str:
        """The exception as its traceback's last line has it."""
        first = self.message.strip().partition("\n")[0]
        return f"{self.type}: {first}" if first else self.type


@dataclass(frozen=True, slots=True)
class Result:
    """How an invocation ended; `stopped` says that a cancelled one no longer occupies the worker.

    Of a turn: the worker keeps the orchestration (`kept`) for the next one, or `lacks_history` to run it.
    """

    body: bytes = b""
    failure: Failure | None = None
    stopped: bool = True
    kept: bool = False
    lacks_history: bool = False

    @classmethod
    def of(cls, head: Mapping[str, Any], body: bytes) -> "Result":
        """What a worker sent."""
        if head["ok"]:
            return cls(body, kept=head.get("kept", False), lacks_history=head.get("lacks_history", False))
        failure = Failure(head["type"], head["message"], head["trace"])
        return cls(body, failure, stopped=head.get("stopped", True))


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """The status and headers of an HTTP response."""

    status: int
    headers: list[tuple[str, str]]


class Call:
    """One invocation under way; `ended` gets its result, or None when the worker died under it."""

    def __init__(self, channel: Channel, stream: int) -> None:
        self._channel = channel
        self.stream = stream
        self.ended: Callable[[Result | None], object] = lambda _: None
        self.timed_out = False

    def finish(self, result: Result | None) -> None:
        """The worker's answer has come, or it will never come."""
        self.ended(result)

    def cancel(self) -> None:
        """Ask the worker to give the invocation up."""
        self._channel.send(Kind.CANCEL, self.stream)

    def on_frame(self, kind: Kind, payload: bytes) -> None:
        """A frame of this stream arrived."""
        raise AssertionError(f"{kind.name} does not belong to an invocation without bodies")


class HttpCall(Call):
    """One HTTP invocation under way: its result, and the pieces of its bodies."""

    def __init__(self, channel: Channel, stream: int) -> None:
        super().__init__(channel, stream)
        self._window = Window()
        self._response: asyncio.Queue[ResponseHead | bytes | None] = asyncio.Queue()
        self.answered = False  # the whole response was sent, whatever became of the function then
        self.result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

    def finish(self, result: Result | None) -> None:
        """As of any call; whoever waits for a part of the response learns that there is no more."""
        if result is not None:
            self.result.set_result(result)
        else:
            self.result.set_exception(WorkerLostError())
            self.result.exception()  # whoever awaits the result sees it; a caller who left does not mind
        self._window.close()
        self._response.put_nowait(None)
        super().finish(result)

    async def upload(self, piece: bytes) -> bool:
        """Send a piece of the request's body when the app has read enough; false when it stopped reading."""
        if not await self._window.take(len(piece)):
            return False
        self._channel.send(Kind.BODY, self.stream, piece)
        return True

    def upload_end(self) -> None:
        """The request's body is complete."""
        self._channel.send(Kind.END, self.stream)

    async def next_part(self) -> ResponseHead | bytes | None:
        """The response's head, then pieces of its body, then `None`."""
        return await self._response.get()

    def taken(self, size: int) -> None:
        """The client took `size` bytes: the app may send as many more."""
        self._channel.send(Kind.CREDIT, self.stream, credit(size))

    def disconnect(self) -> None:
        """The client went away."""
        self._channel.send(Kind.DISCONNECT, self.stream)

    def on_frame(self, kind: Kind, payload: bytes) -> None:
        """A frame of this stream arrived."""
        match kind:
            case Kind.HEAD:
                head, _ = unpack(payload)
                self._response.put_nowait(ResponseHead(head["status"], head["headers"]))
            case Kind.BODY:
                self._response.put_nowait(payload)
            case Kind.END:
                self.answered = True
                self._response.put_nowait(None)
            case Kind.CREDIT:
                self._window.grant(credited(payload))
            case _:
                raise AssertionError(f"{kind.name} does not belong to an invocation")
