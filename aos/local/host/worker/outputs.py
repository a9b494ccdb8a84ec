"""What a function sets on its Service Bus output bindings: handed to the host before the invocation ends."""

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

from aos.local.host.frames import Kind, pack, unpack

type Output = tuple[str, str, Any]
"""A binding's name, and the type and value that the library made of what the function set."""
type Deliver = Callable[[Iterable[Output]], "asyncio.Future[None]"]
"""Has an invocation's outputs sent; the future fails with OutputBindingError."""

_BRACKETS = ("{}", "[]")


class OutputBindingError(Exception):
    """A message of an output binding could not be made or sent: the invocation fails."""


class Outbox:
    """Hands messages to the host, which answers once they are sent."""

    def __init__(self, send_frame: Callable[[Kind, int, bytes], None]) -> None:
        self._send_frame = send_frame
        self._waiting: dict[int, asyncio.Future[None]] = {}

    def deliverer(self, stream: int, function_id: str, invocation_id: str) -> Deliver:
        """What one invocation gives its outputs to."""
        head = {"function": function_id, "invocation": invocation_id}
        return lambda outputs: self._deliver(stream, head, outputs)

    def on_sent(self, stream: int, payload: bytes) -> None:
        """The host's answer: everything was sent, or why not."""
        waiting = self._waiting.pop(stream, None)
        if waiting is None or waiting.done():
            return  # the invocation was given up
        error = unpack(payload)[0]["error"]
        if error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(OutputBindingError(error))

    def _deliver(
        self, stream: int, head: dict[str, str], outputs: Iterable[Output]
    ) -> "asyncio.Future[None]":
        described, bodies = [], []
        for binding, kind, value in outputs:
            messages = _messages(binding, kind, value)
            described.append({"binding": binding, "text": kind != "bytes", "sizes": list(map(len, messages))})
            bodies += messages
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if described:
            self._waiting[stream] = future
            self._send_frame(Kind.OUTPUT, stream, pack({**head, "outputs": described}, b"".join(bodies)))
        else:
            future.set_result(None)
        return future


def _messages(binding: str, kind: str, value: Any) -> list[bytes]:
    """The bodies to send, one for each item of a list. OutputBindingError when a text cannot be split.

    As in Azure a text in brackets must be JSON; an array in it is a list.
    """
    if kind == "bytes":
        return [bytes(value)]
    text = value if isinstance(value, str) else json.dumps(value)
    trimmed = text.strip()
    if trimmed[:1] + trimmed[-1:] not in _BRACKETS:
        return [text.encode()]
    try:
        parsed = json.loads(trimmed)
    except ValueError as error:
        raise OutputBindingError(
            f"binding {binding!r}: a text in brackets must be JSON, and this is not: {error}"
        ) from error
    return [_item(item) for item in parsed] if isinstance(parsed, list) else [text.encode()]


def _item(item: Any) -> bytes:
    return (item if isinstance(item, str) else json.dumps(item)).encode()
