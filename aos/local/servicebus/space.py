"""What the messages of a queue, or of a topic's subscriptions, take up, dead letters included."""

from typing import override

from aos.local.servicebus.errors import QuotaExceededError
from aos.local.servicebus.message import Message

_MIB = 1024 * 1024


class Space:
    """The bytes that messages take, and may take."""

    def __init__(self, name: str, max_megabytes: int) -> None:
        self.name = name
        self.max_megabytes = max_megabytes
        self.used_bytes = 0

    def check(self, size: int) -> None:
        """Whether a message of that size fits in. Raises QuotaExceededError."""
        if self.used_bytes + size > self.max_megabytes * _MIB:
            raise QuotaExceededError(f"{self.name} is full: it holds at most {self.max_megabytes} MiB")


class MessageTable(dict[int, Message]):
    """Messages by sequence number, whose sizes are counted."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self._space = space

    @override
    def __setitem__(self, number: int, message: Message) -> None:
        if number not in self:
            self._space.used_bytes += message.size
        super().__setitem__(number, message)

    @override
    def __delitem__(self, number: int) -> None:
        self._space.used_bytes -= self[number].size
        super().__delitem__(number)

    def discard(self, number: int) -> None:
        """Take a message out, if it is there."""
        if number in self:
            del self[number]
