"""The hub's memory over its database: cached instances and entities, messages, timers.

All changes are made here, synchronously on the loop, and put into the journal as they are made. What is
in memory may be ahead of the disk by the groups still being written; if one of them fails, `reset()`
throws all of it away and `restore()` reads back what is durable.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb

from aos.local.taskhub.clock import Clock
from aos.local.taskhub.dispatch import Dispatcher
from aos.local.taskhub.ids import IdRules
from aos.local.taskhub.journal import Journal
from aos.local.taskhub.records import WAKES_SUSPENDED, Activity, Entity, Instance, Kind, Message
from aos.local.taskhub.schema import ACTIVITIES, ENTITIES, HISTORY, INBOX, INSTANCES, ORIGINS
from aos.local.taskhub.timers import Timers

_INSTANCE = f"SELECT {','.join(INSTANCES.columns)} FROM instances WHERE "  # noqa: S608 - names from the schema
_ENTITY = f"SELECT {','.join(ENTITIES.columns)} FROM entities WHERE id = ?"  # noqa: S608

_ID, _PARENT = (INSTANCES.columns.index(name) for name in ("id", "parent"))

_CACHED_OBJECTS = 20_000
_TRIM_STEPS = 64


@dataclass(frozen=True)
class Pending:
    """The undone work that a database holds."""

    messages: list[tuple[Any, ...]]
    activities: list[tuple[Any, ...]]
    last_seq: int
    last_no: int


def read_pending(connection: sqlite3.Connection) -> Pending:
    """Read all undone work; what start-up and recovery begin with."""
    messages = connection.execute(f"SELECT {','.join(INBOX.columns)} FROM inbox ORDER BY seq").fetchall()  # noqa: S608
    activities = connection.execute(
        f"SELECT {','.join(ACTIVITIES.columns)} FROM activities ORDER BY seq"  # noqa: S608
    ).fetchall()
    (last_no,) = connection.execute("SELECT coalesce(max(no), 0) FROM instances").fetchone()
    last_seq = max((row[0] for row in (messages[-1:] + activities[-1:])), default=0)
    return Pending(messages, activities, last_seq, last_no)


class State:
    """See the module's text."""

    def __init__(
        self, lookup: sqlite3.Connection, clock: Clock, dispatcher: Dispatcher, cache_bytes: int
    ) -> None:
        self.journal: Journal
        self.clock = clock
        self.dispatcher = dispatcher
        self.ids = IdRules()
        self.activities: dict[int, Activity] = {}
        self.on_change: Callable[[str], None]
        self.on_timer: Callable[[], None]
        self.on_operation: Callable[[Entity], None]
        self._lookup = lookup
        self._running: dict[int, Activity] = {}  # while recovering: activities that workers hold
        self._cache_bytes = cache_bytes
        self._history_bytes = 0
        self._seq = self._no = 0
        self._instances: OrderedDict[str, Instance | None] = OrderedDict()  # None: removed, not yet on disk
        self._entities: OrderedDict[str, Entity] = OrderedDict()
        self._timers = Timers()

    def reset(self) -> None:
        """Forget everything in memory, but for the activities that workers are running."""
        self.dispatcher.clear()
        self._running |= {seq: activity for seq, activity in self.activities.items() if activity.lease}
        for keep in (self.activities, self._instances, self._entities, self._timers):
            keep.clear()
        self._history_bytes = 0

    def restore(self, pending: Pending) -> None:
        """Take up the undone work of the database."""
        self._seq = max(self._seq, pending.last_seq)
        self._no = max(self._no, pending.last_no)
        for row in pending.activities:
            activity = self._running.pop(row[0], None) or Activity(*row)
            activity.execution = row[2]
            self.activities[activity.seq] = activity
            self.dispatcher.offer(activity)
        for activity in self._running.values():  # no longer wanted by anyone
            activity.done = True
            if activity.lease is not None:
                self.dispatcher.release(activity.lease)
        self._running.clear()
        for seq, target, execution, due, kind, sender, event in pending.messages:
            self._deliver(Message(seq, target, execution, due, Kind(kind), sender, event))

    # -- instances

    def next_no(self) -> int:
        """The number of a new instance."""
        self._no += 1
        return self._no

    def instance(self, instance_id: str) -> Instance | None:
        """The instance with this id, in memory or from disk, without its history."""
        if instance_id in self._instances:
            self._instances.move_to_end(instance_id)
            return self._instances[instance_id]
        row = self._lookup.execute(_INSTANCE + "id = ?", (instance_id,)).fetchone()
        if row is None:
            return None
        instance = Instance.from_row(row)
        self._instances[instance_id] = instance
        return instance

    def held(self, instance_id: str) -> Instance | None:
        """The instance, if it is in memory."""
        return self._instances.get(instance_id)

    def children(self, instance_id: str) -> list[Instance]:
        """The instances whose parent this is, of any generation."""
        ids = {
            row[0]
            for row in self._lookup.execute("SELECT id FROM instances WHERE parent = ?", (instance_id,))
        }
        ids |= {row[_ID] for row in self.journal.pending_rows(INSTANCES) if row[_PARENT] == instance_id}
        found = (self.instance(each) for each in sorted(ids))
        return [each for each in found if each is not None and each.parent == instance_id]

    def add(self, instance: Instance, started: pb.ExecutionStartedEvent) -> None:
        """Take in a new instance, or a new generation of one."""
        self._instances[instance.id] = instance
        self.set_history(instance, [])
        self.journal.put(ORIGINS, (instance.no, started.SerializeToString()))
        self.save(instance)

    def origin(self, instance: Instance) -> pb.ExecutionStartedEvent:
        """What the instance's current generation was started with."""
        held = self.journal.pending_row(ORIGINS, instance.no)
        if held is None:
            held = self._lookup.execute(
                "SELECT no, event FROM origins WHERE no = ?", (instance.no,)
            ).fetchone()
        origin: pb.ExecutionStartedEvent = pb.ExecutionStartedEvent.FromString(held[1])
        return origin

    def save(self, instance: Instance) -> None:
        """Write the instance's row."""
        instance.saved_in = self.journal.number
        self.journal.put(INSTANCES, instance.row())

    def append_history(self, instance: Instance, fragment: bytes) -> None:
        """Add the events of a turn."""
        instance.kept = None
        if instance.history is not None:
            instance.history.append(fragment)
            self._history_bytes += len(fragment)
        self.journal.put(HISTORY, (instance.no, instance.turns, fragment))
        instance.turns += 1

    def replace_history(self, instance: Instance, fragment: bytes | None) -> None:
        """Begin the history anew."""
        instance.kept = None
        self.journal.delete(HISTORY, instance.no)
        instance.turns = 0
        self.set_history(instance, [])
        if fragment is not None:
            self.append_history(instance, fragment)

    def set_history(self, instance: Instance, history: list[bytes] | None) -> None:
        """Hold this as the instance's history; None forgets it."""
        self._history_bytes -= sum(map(len, instance.history or ()))
        instance.history = history
        self._history_bytes += sum(map(len, history or ()))

    def end(self, instance: Instance) -> None:
        """The instance has reached a final status: nothing more is delivered, those who wait are told."""
        self.drop(instance.inbox)
        instance.inbox.clear()
        self.drop(self._timers.call_off(instance.id, lambda _: True))
        self.announce(instance.id)
        self.journal.after(lambda: self._ended(instance))

    def announce(self, instance_id: str) -> None:
        """Tell those who wait for this instance, once its change is on disk."""
        self.journal.after(lambda: self.on_change(instance_id))

    def _ended(self, instance: Instance) -> None:
        if self._instances.get(instance.id) is instance and self._forgettable(instance):
            self._forget(instance.id)

    def remove(self, instance: Instance) -> None:
        """Delete the instance and all that belongs to it."""
        if instance.lease is not None:
            self.dispatcher.release(instance.lease)
        instance.status = pb.ORCHESTRATION_STATUS_TERMINATED  # if still queued, it is passed over
        self.set_history(instance, None)
        for table in (INSTANCES, ORIGINS, HISTORY):
            self.journal.delete(table, instance.no)
        self.end(instance)
        self._instances[instance.id] = None
        self.journal.after(lambda: self._removed(instance.id))

    def _removed(self, instance_id: str) -> None:
        if instance_id in self._instances and self._instances[instance_id] is None:
            del self._instances[instance_id]

    # -- entities

    def entity(self, entity_id: str) -> Entity:
        """The entity with this id; one without state if there is none yet."""
        entity = self._entities.get(entity_id)
        if entity is None:
            row = self._lookup.execute(_ENTITY, (entity_id,)).fetchone()
            entity = self._entities[entity_id] = Entity(*row) if row else Entity(entity_id)
        else:
            self._entities.move_to_end(entity_id)
        return entity

    def save_entity(self, entity: Entity) -> None:
        """Write the entity's row; without state and lock there is none."""
        entity.saved_in = self.journal.number
        if entity.state is None and entity.locked_by is None:
            self.journal.delete(ENTITIES, entity.id)
        else:
            self.journal.put(ENTITIES, entity.row())

    # -- messages

    def send(
        self,
        target: str,
        kind: Kind,
        event: pb.HistoryEvent,
        *,
        execution: str | None = None,
        sender: str | None = None,
        due: int = 0,
    ) -> None:
        """Send a message to an instance or entity, to arrive at `due`."""
        self._seq += 1
        if due <= self.clock.now():
            due = 0
        message = Message(self._seq, target, execution, due, kind, sender, event.SerializeToString())
        self.journal.insert(INBOX, message.row())
        self._deliver(message)

    def resend(self, messages: Iterable[Message]) -> None:
        """Give messages new places at the end of their target's inbox."""
        for message in messages:
            self.journal.delete(INBOX, message.seq)
            self._seq += 1
            message.seq = self._seq
            self.journal.insert(INBOX, message.row())

    def drop(self, messages: Iterable[Message]) -> None:
        """Messages that were consumed, or that nobody will read."""
        for message in messages:
            self.journal.delete(INBOX, message.seq)

    def readdress(self, caller: Instance) -> None:
        """Have the answers to what this instance asked of entities go to its current execution."""
        asked = (m for entity in self._entities.values() for m in entity.inbox if m.sender == caller.id)
        answered = (m for m in caller.inbox if m.execution is not None)
        for message in (*asked, *answered):
            message.execution = caller.execution
            self.journal.put(INBOX, message.row())

    def backlog(self, entity_id: str) -> int:
        """How many operations wait for this entity."""
        entity = self._entities.get(entity_id)
        return len(entity.inbox) if entity is not None else 0

    def add_activity(self, activity: Activity) -> None:
        """Schedule an activity; it is handed out once it is on disk."""
        self.activities[activity.seq] = activity
        self.journal.insert(ACTIVITIES, activity.row())
        self.journal.after(lambda: self.dispatcher.offer(activity))

    def call_off_activities(self, instance_ids: set[str]) -> None:
        """Drop what was scheduled by instances that are gone, but for what workers are running."""
        of_them = [each for each in self.activities.values() if each.instance in instance_ids]
        for activity in of_them:
            if activity.lease is None:
                activity.done = True
                del self.activities[activity.seq]
                self.journal.delete(ACTIVITIES, activity.seq)

    def next_seq(self) -> int:
        """The number of a new activity."""
        self._seq += 1
        return self._seq

    def _deliver(self, message: Message) -> None:
        if message.due:
            if self._timers.add(message):
                self.on_timer()
        elif message.target.startswith("@"):
            entity = self.entity(message.target)
            entity.inbox.append(message)
            if entity.locked_by in (None, message.sender):
                self.on_operation(entity)
        else:
            self._deliver_to_instance(message)

    def _deliver_to_instance(self, message: Message) -> None:
        instance = self.instance(message.target)
        if instance is None or not instance.live or message.execution not in (None, instance.execution):
            self.drop([message])
            return
        instance.inbox.insert(0 if message.kind is Kind.START else len(instance.inbox), message)
        if instance.status != pb.ORCHESTRATION_STATUS_SUSPENDED or message.kind in WAKES_SUSPENDED:
            self.dispatcher.offer(instance)

    # -- timers

    def next_due(self) -> int | None:
        """When the next timer is due."""
        return self._timers.next_due()

    def fire_due(self) -> None:
        """Deliver every message whose time has come."""
        for message in self._timers.pop_due(self.clock.now()):
            message.due = 0
            self._deliver(message)

    def drop_old_timers(self, instance: Instance) -> None:
        """Timers of an earlier generation never fire."""
        current = (None, instance.execution)
        self.drop(self._timers.call_off(instance.id, lambda message: message.execution not in current))

    # -- the cache

    def trim(self) -> None:
        """Forget what was not used for longest, as far as it is on disk and idle."""
        for _ in range(min(len(self._instances), _TRIM_STEPS)):
            if len(self._instances) <= _CACHED_OBJECTS and self._history_bytes <= self._cache_bytes:
                break
            oldest, instance = next(iter(self._instances.items()))
            if instance is not None and self._forgettable(instance):
                self._forget(oldest)
            else:
                self._instances.move_to_end(oldest)
        for _ in range(min(len(self._entities) - _CACHED_OBJECTS, _TRIM_STEPS)):
            oldest, entity = next(iter(self._entities.items()))
            if entity.saved_in <= self.journal.committed and not entity.inbox and entity.lease is None:
                del self._entities[oldest]
            else:
                self._entities.move_to_end(oldest)

    def _forgettable(self, instance: Instance) -> bool:
        on_disk = instance.saved_in <= self.journal.committed
        return on_disk and not instance.inbox and instance.lease is None

    def _forget(self, instance_id: str) -> None:
        instance = self._instances.pop(instance_id)
        if instance is not None:
            self.set_history(instance, None)
