"""The entities of the topology, by name, taken up from the journal."""

from dataclasses import replace
from typing import Any

from aos.local.servicebus.clock import Clock
from aos.local.servicebus.content import Content
from aos.local.servicebus.dead_letters import DEAD_LETTER_SUFFIX, TRANSFER_DEAD_LETTER_SUFFIX
from aos.local.servicebus.entities import EntitySettings, TopicDefinition
from aos.local.servicebus.errors import DatabaseError, DecodeError, EntityNotFoundError, NotAllowedError
from aos.local.servicebus.intake import Destination
from aos.local.servicebus.journal import Journal
from aos.local.servicebus.message import Message, State
from aos.local.servicebus.message_sessions import SessionQueue
from aos.local.servicebus.queues import Queue
from aos.local.servicebus.space import Space
from aos.local.servicebus.topic import Fanout, Subscription
from aos.local.servicebus.topology import Topology

_BELOW = "/subscriptions/"


class Namespace:
    """Finds queues by path, without regard to case, as Service Bus does."""

    def __init__(self, topology: Topology, clock: Clock, journal: Journal) -> None:
        self._clock = clock
        self._journal = journal
        self._queues: dict[str, Queue] = {}
        for definition in topology.queues:
            self._add_queue(definition.name, definition.settings)
        self._topics: dict[str, Queue] = {}
        self._subscriptions: dict[str, Subscription] = {}
        for topic in topology.topics:
            self._add_topic(topic)
        for queue in self._queues.values():
            if queue.settings.forward_to is not None:
                queue.forward = self.holder(queue.settings.forward_to)
            target = queue.settings.forward_dead_letters_to
            if target is not None and queue.dead_letters is not None:
                queue.dead_letters.forward = self.holder(target)
        self._restore()

    def queue(self, path: str) -> Queue:
        """What can be received from. Raises EntityNotFoundError."""
        queue = self._queues.get(path.lower())
        if queue is None:
            raise EntityNotFoundError(f"the messaging entity {path!r} could not be found")
        return queue

    def subscription(self, path: str) -> Subscription:
        """A subscription with its rules. Raises EntityNotFoundError."""
        found = self._subscriptions.get(path.lower())
        if found is None:
            raise EntityNotFoundError(f"the subscription {path!r} could not be found")
        return found

    def holder(self, path: str) -> Queue:
        """A queue, or what holds a topic's scheduled messages. Raises EntityNotFoundError."""
        topic = self._topics.get(path.lower())
        return self.queue(path) if topic is None else topic

    def destination(self, path: str) -> Destination:
        """What can be sent to.

        Raises EntityNotFoundError, NotAllowedError for a subscription, EntityDisabledError.
        """
        lower = path.lower()
        if lower not in self._topics and (lower.endswith(DEAD_LETTER_SUFFIX.lower()) or _BELOW in lower):
            self.queue(path)
            raise NotAllowedError(f"{path}: messages are sent to queues and topics only")
        found = self.holder(path)
        found.check_sendable()
        return found

    def stop(self) -> None:
        """No entity wakes up any more."""
        for queue in (*self._queues.values(), *self._topics.values()):
            queue.stop()

    def _add_queue(self, name: str, settings: EntitySettings, space: Space | None = None) -> Queue:
        kind = SessionQueue if settings.requires_session else Queue
        queue = kind(name, settings, self._clock, self._journal, space=space)
        self._queues[name.lower()] = queue
        queue.transfer_dead_letters = self._add_sub_queue(queue, TRANSFER_DEAD_LETTER_SUFFIX)
        queue.dead_letters = self._add_sub_queue(queue, DEAD_LETTER_SUFFIX)
        queue.dead_letters.transfer_dead_letters = queue.transfer_dead_letters
        return queue

    def _add_sub_queue(self, queue: Queue, suffix: str) -> Queue:
        settings = EntitySettings(lock_ms=queue.settings.lock_ms, status=queue.settings.status)
        sub_queue = Queue(queue.name + suffix, settings, self._clock, self._journal, parent=queue)
        self._queues[sub_queue.name.lower()] = sub_queue
        return sub_queue

    def _add_topic(self, definition: TopicDefinition) -> None:
        topic = Queue(definition.name, definition.settings, self._clock, self._journal)
        subscriptions = []
        for each in definition.subscriptions:
            lifetimes = [each.settings.default_ttl_ms, definition.settings.default_ttl_ms]
            given = [lifetime for lifetime in lifetimes if lifetime is not None]
            settings = replace(each.settings, default_ttl_ms=min(given, default=None))
            queue = self._add_queue(f"{definition.name}/Subscriptions/{each.name}", settings, topic.space)
            subscriptions.append(Subscription(queue, each.rules, self._journal))
            self._subscriptions[queue.name.lower()] = subscriptions[-1]
        topic.forward = Fanout(subscriptions)
        self._topics[definition.name.lower()] = topic

    def _restore(self) -> None:
        messages: dict[str, list[Message]] = {}
        for row in self._journal.rows("SELECT * FROM messages ORDER BY entity, sequence"):
            try:
                messages.setdefault(row[1].lower(), []).append(_message(row))
            except (DecodeError, ValueError, TypeError) as error:
                raise DatabaseError(f"message {row[0]} in the database is damaged: {error}") from error
        sequences = {name.lower(): last for name, last in self._journal.rows("SELECT * FROM sequences")}
        entities = self._queues | self._topics
        for key, queue in entities.items():
            queue.recall(messages.get(key, []), sequences.get(key, 0))
        for key, queue in entities.items():
            queue.restore(messages.get(key, []))


def _message(row: tuple[Any, ...]) -> Message:
    id_, _entity, sequence, raw, message_id, session_id, enqueued_ms, state, *rest = row
    content = Content.parse(raw)
    return Message(id_, sequence, content, message_id, session_id, enqueued_ms, State(state), *rest)
