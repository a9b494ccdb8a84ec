"""Messages whose time has not come."""

import heapq
from collections.abc import Callable, Iterator

from aos.local.taskhub.records import Message


class Timers:
    """Scheduled messages by due time, and by target so that they can be called off."""

    def __init__(self) -> None:
        self._messages: dict[int, Message] = {}
        self._by_target: dict[str, set[int]] = {}
        self._due: list[tuple[int, int]] = []  # (due, seq); may name messages called off since

    def clear(self) -> None:
        """Forget all."""
        self._messages.clear()
        self._by_target.clear()
        self._due.clear()

    def add(self, message: Message) -> bool:
        """Keep a message until it is due; true if it is now the first that will be."""
        self._messages[message.seq] = message
        self._by_target.setdefault(message.target, set()).add(message.seq)
        heapq.heappush(self._due, (message.due, message.seq))
        return self._due[0][1] == message.seq

    def next_due(self) -> int | None:
        """When the first message is due."""
        while self._due and self._due[0][1] not in self._messages:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def pop_due(self, now: int) -> Iterator[Message]:
        """Take out each message that is due by now."""
        while (due := self.next_due()) is not None and due <= now:
            yield self._pop(heapq.heappop(self._due)[1])

    def call_off(self, target: str, unwanted: Callable[[Message], bool]) -> list[Message]:
        """Take out the messages to this target that are not wanted."""
        waiting = [self._messages[seq] for seq in self._by_target.get(target, ())]
        return [self._pop(message.seq) for message in waiting if unwanted(message)]

    def _pop(self, seq: int) -> Message:
        message = self._messages.pop(seq)
        waiting = self._by_target[message.target]
        waiting.discard(seq)
        if not waiting:
            del self._by_target[message.target]
        return message
