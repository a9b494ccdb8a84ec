"""The entities of the topology, by name, taken up from the journal."""

from typing import Any

from aos.local.servicebus.clock import Clock
from aos.local.servicebus.entity import DEAD_LETTER_SUFFIX, Destination, Queue
from aos.local.servicebus.errors import EntityNotFoundError, NotAllowedError
from aos.local.servicebus.journal import Journal
from aos.local.servicebus.message import Content, Message, State
from aos.local.servicebus.topology import EntitySettings, Topology


class Namespace:
    """Finds queues by path, without regard to case, as Service Bus does."""

    def __init__(self, topology: Topology, clock: Clock, journal: Journal) -> None:
        self._clock = clock
        self._journal = journal
        self._queues: dict[str, Queue] = {}
        for definition in topology.queues:
            self._add_queue(definition.name, definition.settings)
        for queue in self._queues.values():
            if queue.settings.forward_to is not None:
                queue.forward = self.destination(queue.settings.forward_to)
        self._restore()

    def queue(self, path: str) -> Queue:
        """What can be received from. Raises EntityNotFoundError."""
        queue = self._queues.get(path.lower())
        if queue is None:
            raise EntityNotFoundError(f"the messaging entity {path!r} could not be found")
        return queue

    def destination(self, path: str) -> Destination:
        """What can be sent to. Raises EntityNotFoundError, or NotAllowedError for a sub-queue."""
        if path.lower().endswith(DEAD_LETTER_SUFFIX.lower()):
            self.queue(path)
            raise NotAllowedError(f"{path}: messages cannot be sent to a dead-letter queue")
        return self.queue(path)

    def manageable(self, path: str) -> None:
        """Check that requests can be made about an entity. Raises EntityNotFoundError."""
        self.queue(path)

    def stop(self) -> None:
        """No entity wakes up any more."""
        for queue in self._queues.values():
            queue.stop()

    def _add_queue(self, name: str, settings: EntitySettings) -> Queue:
        queue = Queue(name, settings, self._clock, self._journal)
        plain = EntitySettings(lock_ms=settings.lock_ms)
        dead_name = name + DEAD_LETTER_SUFFIX
        queue.dead_letters = Queue(dead_name, plain, self._clock, self._journal, parent=queue)
        self._queues[name.lower()] = queue
        self._queues[dead_name.lower()] = queue.dead_letters
        return queue

    def _restore(self) -> None:
        messages: dict[str, list[Message]] = {}
        for row in self._journal.rows("SELECT * FROM messages ORDER BY entity, sequence"):
            messages.setdefault(row[1].lower(), []).append(_message(row))
        sequences = {name.lower(): last for name, last in self._journal.rows("SELECT * FROM sequences")}
        for key, queue in self._queues.items():
            queue.restore(messages.get(key, []), sequences.get(key, 0))


def _message(row: tuple[Any, ...]) -> Message:
    id_, _entity, sequence, raw, message_id, session_id, enqueued_ms, state, *rest = row
    content = Content.parse(raw)
    return Message(id_, sequence, content, message_id, session_id, enqueued_ms, State(state), *rest)
