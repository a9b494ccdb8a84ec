"""What the hub keeps in memory: instances, entities, activities, and the messages on their way to them."""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import durabletask.internal.orchestrator_service_pb2 as pb

from aos.local.taskhub.schema import INSTANCES

if TYPE_CHECKING:
    from aos.local.taskhub.dispatch import Lease

TERMINAL = frozenset(
    {
        pb.ORCHESTRATION_STATUS_COMPLETED,
        pb.ORCHESTRATION_STATUS_FAILED,
        pb.ORCHESTRATION_STATUS_CANCELED,
        pb.ORCHESTRATION_STATUS_TERMINATED,
    }
)


class Kind(StrEnum):
    """What a message is to the hub; what it is to the worker is in its event."""

    START = "start"
    EVENT = "event"  # an external event: outlives its generation
    RESULT = "result"  # of an activity, a timer, a child, an entity call: belongs to one generation
    SUSPEND = "suspend"
    RESUME = "resume"
    TERMINATE = "terminate"
    TERMINATE_ALL = "terminate-all"  # with all its children
    REWIND = "rewind"
    SIGNAL = "signal"  # to an entity, no answer wanted
    CALL = "call"  # to an entity, `sender` wants the answer
    LOCK = "lock"  # to an entity, for the critical section of `sender`


# What reaches a suspended instance.
WAKES_SUSPENDED = frozenset({Kind.RESUME, Kind.TERMINATE, Kind.TERMINATE_ALL})


@dataclass(slots=True, eq=False)
class Message:
    """A durable message to an instance or an entity, delivered at `due` (0: at once).

    A message with an `execution` is dropped when its target has gone on to another generation; to an
    entity it names the generation of the sender.
    """

    seq: int
    target: str
    execution: str | None
    due: int
    kind: Kind
    sender: str | None
    event: bytes

    def row(self) -> tuple[Any, ...]:
        """As in the table `inbox`."""
        return (self.seq, self.target, self.execution, self.due, self.kind.value, self.sender, self.event)


@dataclass(slots=True, eq=False)
class Work:
    """Something that can be queued for a worker and leased to it."""

    lease: "Lease | None" = field(default=None, init=False)
    queued_at: int | None = field(default=None, init=False)
    put_back: int = field(default=0, init=False)  # times in a row that a worker did not do it

    @property
    def free(self) -> bool:
        """No worker is expected to do it."""
        return self.lease is None or self.lease.overdue


@dataclass(frozen=True, slots=True)
class Kept:
    """Who keeps an orchestration alive in memory, after which turn.

    `confirmed` are the events, as they lie in a history, that came to it after what that turn was given.
    """

    keeper: object
    after: str
    confirmed: bytes


@dataclass(slots=True, eq=False)
class Instance(Work):
    """An orchestration instance; `execution` changes with each generation (continue-as-new)."""

    no: int
    id: str
    execution: str
    name: str
    version: str | None
    status: pb.OrchestrationStatus
    created: int
    updated: int
    completed: int | None = None
    start_at: int | None = None
    parent: str | None = None
    parent_task: int | None = None
    parent_execution: str | None = None
    custom_status: str | None = None
    output: str | None = None
    failure: bytes | None = None
    trace: bytes | None = None
    locks: dict[str, list[str]] = field(default_factory=dict)  # critical section -> entities
    turns: int = 0
    inbox: list[Message] = field(default_factory=list, init=False)
    history: list[bytes] | None = field(default=None, init=False)  # None: not read from disk
    kept: Kept | None = field(default=None, init=False)
    saved_in: int = field(default=0, init=False)

    @property
    def live(self) -> bool:
        """Not ended."""
        return self.status not in TERMINAL

    @property
    def key(self) -> tuple[str, str]:
        """What work item filters look at."""
        return (self.name, self.version or "")

    def row(self) -> tuple[Any, ...]:
        """As in the table `instances`."""
        return (
            self.no, self.id, self.execution, self.name, self.version, int(self.status), self.created,
            self.updated, self.completed, self.start_at, self.parent, self.parent_task, self.parent_execution,
            self.custom_status, self.output, self.failure, self.trace,
            json.dumps(self.locks) if self.locks else None, self.turns,
        )  # fmt: skip

    @classmethod
    def from_row(cls, row: tuple[Any, ...]) -> "Instance":
        """From the table `instances`."""
        fields: dict[str, Any] = dict(zip(INSTANCES.columns, row, strict=True))
        fields["locks"] = json.loads(fields["locks"] or "{}")
        return cls(**fields)

    def ready(self) -> bool:
        """A turn can be taken."""
        if not self.free or not self.inbox or not self.live:
            return False
        if self.turns == 0 and self.inbox[0].kind is not Kind.START:
            return False
        if self.status == pb.ORCHESTRATION_STATUS_SUSPENDED:
            return any(message.kind in WAKES_SUSPENDED for message in self.inbox)
        return True

    def batch(self, limit: int) -> list[Message]:
        """The messages of the next turn. A rewind comes alone: the worker's contract."""
        if self.inbox[0].kind is Kind.REWIND:
            return self.inbox[:1]
        batch = self.inbox[:limit]
        for at, message in enumerate(batch):
            if message.kind is Kind.REWIND:
                return batch[:at]
        return batch


@dataclass(slots=True, eq=False)
class Entity(Work):
    """An entity; `locked_by` is the orchestration whose critical section holds it."""

    id: str
    state: str | None = None
    modified: int = 0
    locked_by: str | None = None
    section: str | None = None
    inbox: list[Message] = field(default_factory=list, init=False)
    saved_in: int = field(default=0, init=False)

    @property
    def key(self) -> tuple[str, str]:
        """What work item filters look at: the entity's name."""
        return (self.id[1:].partition("@")[0], "")

    def row(self) -> tuple[Any, ...]:
        """As in the table `entities`."""
        return (self.id, self.state, self.modified, self.locked_by, self.section)

    def ready(self) -> bool:
        """A batch of operations can be taken."""
        return self.free and bool(self.batch(1))

    def batch(self, limit: int) -> list[Message]:
        """The next operations: of the lock's holder alone while locked, else up to the next lock request."""
        batch: list[Message] = []
        for message in self.inbox:
            if len(batch) == limit:
                break
            if self.locked_by is not None:
                if message.kind is Kind.CALL and message.sender == self.locked_by:
                    batch.append(message)
            elif message.kind is Kind.LOCK:
                break
            else:
                batch.append(message)
        return batch


@dataclass(slots=True, eq=False)
class Activity(Work):
    """A scheduled activity; it leaves memory and disk when its first completion arrives."""

    seq: int
    instance: str
    execution: str
    task: int
    name: str
    version: str
    request: bytes  # an encoded ActivityRequest
    done: bool = field(default=False, init=False)

    @property
    def key(self) -> tuple[str, str]:
        """What work item filters look at."""
        return (self.name, self.version)

    def row(self) -> tuple[Any, ...]:
        """As in the table `activities`."""
        return (self.seq, self.instance, self.execution, self.task, self.name, self.version, self.request)

    def ready(self) -> bool:
        """It can be handed out."""
        return self.lease is None and not self.done
