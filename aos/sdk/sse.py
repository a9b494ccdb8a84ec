"""Server-sent events, read as the HTML standard's event stream section says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Not str.splitlines: that also breaks at U+2028 and others, which JSON text may hold.
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")


@dataclass(frozen=True, slots=True)
class Message:
    """One dispatched event; ``id`` is the last one that the stream has given so far."""

    id: str
    event: str
    data: str


class EventStream:
    """Turns the bytes of an event stream, cut anywhere, into messages."""

    def __init__(self) -> None:
        self.retry_ms: int | None = None
        """The reconnection time that the server asked for, if it did."""
        self._rest = b""
        self._id = ""
        self._event = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """Take the next bytes and give the messages that they complete."""
        lines = _LINE_END.split(self._rest + chunk)
        self._rest = lines.pop()
        for line in lines:
            message = self._line(line.decode("utf-8", "replace"))
            if message is not None:
                yield message

    def _line(self, line: str) -> Message | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._event = value
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry_ms = int(value)
        return None

    def _dispatch(self) -> Message | None:
        data, event = "\n".join(self._data), self._event or "message"
        empty = not self._data
        self._data, self._event = [], ""
        return None if empty else Message(self._id, event, data)
