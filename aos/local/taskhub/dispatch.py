"""Handing work to workers: queues, filters, leases, and putting back what a worker did not finish.

A worker holds what it was given for as long as its stream of work is open; gRPC's keepalive ends the
stream of a process that is gone. The protocol has no message that renews a lease, so a worker that hangs
with its stream open is told by its silence: a turn or a batch of operations not answered within
`LEASE_S` is overdue. Overdue work is offered to the *other* workers; an answer still counts until one of
them has taken it, and a part of an answer begins the lease anew. Activities are never overdue: they may
take hours, and one that runs on must not be run twice.
"""

import asyncio
import logging
import secrets
from collections import deque
from dataclasses import dataclass, field

import durabletask.internal.orchestrator_service_pb2 as pb

from aos.local.taskhub.clock import SECOND, Clock
from aos.local.taskhub.records import Activity, Entity, Instance, Message, Work

_log = logging.getLogger(__name__)

_TURN_LIMIT = 1000  # messages in one turn
_BATCH_LIMIT = 200  # operations in one entity batch

# The messages of one work item come to no more, unless it is a single one. A worker whose channel was
# given no larger limit takes `_GRPC_LIMIT_BYTES` in all, and breaks its stream at anything above.
_MESSAGES_BYTES = 2 * 1024 * 1024
_GRPC_LIMIT_BYTES = 4 * 1024 * 1024

# Work that a worker gave back is offered again after this long, doubling to the longest: a worker that
# refuses what it cannot run must not spin, and work that takes its workers along must not take all.
_PUT_BACK_S = 0.1
_PUT_BACK_LONGEST_S = 5.0
_LOST_LONGEST_S = 60.0
_PUT_BACK_MOST = 16  # times counted
_TOO_LARGE_PUT_BACK = 7  # times counted at least, where the size of the work may be what broke the stream

# A turn or a batch that is not answered for so long is overdue; twice as long for one that was before,
# so that work which takes long is done in the end.
LEASE_S = 300

type Key = tuple[str, str]
type Item = Instance | Entity | Activity


@dataclass(slots=True, eq=False)
class Lease:
    """Work that a worker holds. A completion counts only while its token is the lease's."""

    token: str
    item: Item
    worker: "Worker"
    since: int  # when it began, or the worker was last heard of it
    overdue: bool = False
    messages: list[Message] = field(default_factory=list)
    started: bytes = b""  # the OrchestratorStarted event of the turn
    chunks: dict[int, pb.OrchestratorResponse] = field(default_factory=dict)  # of a response, but the last
    size: int = 0  # bytes of its work item, once sent
    keeper: object | None = None  # who keeps the orchestration alive after this turn


class Filter:
    """The names, and the versions of each, that a worker takes of one kind of work."""

    def __init__(self, accepted: dict[str, set[str]] | None) -> None:
        self._accepted = accepted

    def admits(self, key: Key) -> bool:
        """An absent filter admits all; a name without versions admits every version."""
        if self._accepted is None:
            return True
        versions = self._accepted.get(key[0])
        return versions is not None and (not versions or key[1] in versions)


def _filters(request: pb.GetWorkItemsRequest) -> dict[type[Work], Filter]:
    if not request.HasField("workItemFilters"):
        return {kind: Filter(None) for kind in (Instance, Entity, Activity)}
    accepted: dict[type[Work], dict[str, set[str]]] = {Instance: {}, Entity: {}, Activity: {}}
    for kind, wanted in (
        (Instance, request.workItemFilters.orchestrations),
        (Activity, request.workItemFilters.activities),
    ):
        for each in wanted:
            accepted[kind].setdefault(each.name, set()).update(each.versions)
    for entity in request.workItemFilters.entities:
        accepted[Entity].setdefault(entity.name, set())
    return {kind: Filter(names) for kind, names in accepted.items()}


def _bearable(messages: list[Message]) -> list[Message]:
    """As many of the messages as go into one work item."""
    size = 0
    for at, message in enumerate(messages):
        size += len(message.event)
        if at and size > _MESSAGES_BYTES:
            return messages[:at]
    return messages


class Worker:
    """A connected worker: what it takes, how much of it, and what it holds."""

    def __init__(self, request: pb.GetWorkItemsRequest) -> None:
        self.filters = _filters(request)
        self.limits: dict[type[Work], int] = {
            Instance: request.maxConcurrentOrchestrationWorkItems,
            Activity: request.maxConcurrentActivityWorkItems,
            Entity: request.maxConcurrentEntityWorkItems,
        }
        self.streams_history = pb.WORKER_CAPABILITY_HISTORY_STREAMING in request.capabilities
        self.holds: dict[type[Work], int] = {Instance: 0, Activity: 0, Entity: 0}
        self.leases: dict[str, Lease] = {}
        self.work = asyncio.Event()

    def has_room(self, kind: type[Work]) -> bool:
        """A limit of zero is none."""
        return not self.limits[kind] or self.holds[kind] < self.limits[kind]


class WorkQueue:
    """Work of one kind, first in first out among what a filter admits."""

    def __init__(self) -> None:
        self._lanes: dict[Key, deque[tuple[int, Item]]] = {}

    def push(self, order: int, item: Item) -> None:
        """Queue the item once."""
        if item.queued_at is None:
            item.queued_at = order
            self._lanes.setdefault(item.key, deque()).append((order, item))

    def pop(self, worker: Worker, admitted: Filter) -> Item | None:
        """The oldest item admitted that is still to be done, but for what this worker is overdue with."""
        passed_over: list[tuple[int, Item]] = []
        try:
            while (found := self._pop(admitted)) is not None:
                lease = found[1].lease
                if lease is None or lease.worker is not worker:
                    return found[1]
                passed_over.append(found)
            return None
        finally:
            for order, item in passed_over:
                self.push(order, item)

    def _pop(self, admitted: Filter) -> tuple[int, Item] | None:
        while lanes := [(lane[0][0], key) for key, lane in self._lanes.items() if admitted.admits(key)]:
            _, key = min(lanes)
            lane = self._lanes[key]
            order, item = lane.popleft()
            if not lane:
                del self._lanes[key]
            if item.queued_at == order:
                item.queued_at = None
                if item.ready():
                    return order, item
        return None


class Dispatcher:
    """Matches ready work with connected workers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._boot = secrets.token_hex(6)
        self._count = 0
        self._paused = False
        self._queues: dict[type[Work], WorkQueue] = {}
        self._workers: deque[Worker] = deque()
        self.leases: dict[str, Lease] = {}
        self._lost: dict[str, Lease] = {}  # taken over by another, and not answered yet
        self.clear()

    def clear(self) -> None:
        """Forget all work and void the leases of turns and batches, whose input may be no longer true.

        A leased activity is on disk as it was handed out; it stays with its worker.
        """
        self._queues = {Instance: WorkQueue(), Entity: WorkQueue(), Activity: WorkQueue()}
        for lease in list(self.leases.values()):
            if not isinstance(lease.item, Activity):
                self.release(lease)

    def pause(self, seconds: float) -> None:
        """Hand out nothing for a while."""
        self._paused = True
        asyncio.get_running_loop().call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._paused = False
        self.wake()

    def connect(self, request: pb.GetWorkItemsRequest) -> Worker:
        """A worker that can be offered work."""
        worker = Worker(request)
        self._workers.append(worker)
        return worker

    def disconnect(self, worker: Worker) -> None:
        """The worker is gone: others get what it held, at once.

        Work whose workers keep going is offered later each time, so that it does not take all of them along.
        """
        self._workers.remove(worker)
        self._lost = {token: lease for token, lease in self._lost.items() if lease.worker is not worker}
        for lease in list(worker.leases.values()):
            self._lose(lease)

    def _lose(self, lease: Lease) -> None:
        item = lease.item
        too_large = lease.size > _GRPC_LIMIT_BYTES
        if too_large:
            _log.warning(
                "a worker went away with %s %r, a work item of %d bytes: if that is why, its channel needs a "
                "larger grpc.max_receive_message_length",
                type(item).__name__.lower(),
                item.name if isinstance(item, Activity) else item.id,
                lease.size,
            )
        if item.put_back:
            if too_large:
                item.put_back = max(item.put_back, _TOO_LARGE_PUT_BACK)
            self._put_back(lease, _LOST_LONGEST_S)
        else:
            self.release(lease)
            item.put_back = 1
            self.offer(item)

    def offer(self, item: Item) -> None:
        """Queue the item if there is something to do for it."""
        if item.queued_at is None and item.ready():
            self._count += 1
            self._queues[type(item)].push(self._count, item)
            self.wake()

    def wake(self) -> None:
        """Let every worker look for work."""
        # Another worker is asked first each time, so that light work spreads too.
        self._workers.rotate(-1)
        for worker in self._workers:
            worker.work.set()

    def take(self, worker: Worker) -> Lease | None:
        """Lease the next piece of work that this worker takes."""
        if self._paused:
            return None
        for kind in (Instance, Entity, Activity):
            if worker.has_room(kind) and (item := self._queues[kind].pop(worker, worker.filters[kind])):
                return self._lease(worker, item)
        return None

    def _lease(self, worker: Worker, item: Item) -> Lease:
        if item.lease is not None:
            self._take_over(item.lease)
        self._count += 1
        lease = Lease(f"{self._boot}.{self._count}", item, worker, self._clock.now())
        match item:
            case Instance():
                lease.messages = _bearable(item.batch(_TURN_LIMIT))
            case Entity():
                lease.messages = _bearable(item.batch(_BATCH_LIMIT))
            case Activity():
                lease.token += f".{item.seq}"
        token = lease.token
        item.lease = lease
        self.leases[token] = worker.leases[token] = lease
        worker.holds[type(item)] += 1
        return lease

    def _take_over(self, lease: Lease) -> None:
        """Void an overdue lease. Its place stays taken until its worker answers: a hung one gets no more."""
        del self.leases[lease.token]
        del lease.worker.leases[lease.token]
        self._lost[lease.token] = lease

    def answered(self, token: str) -> Lease | None:
        """The current lease with this token, renewed: its worker was heard of it. None if it is void."""
        if lost := self._lost.pop(token, None):
            lost.worker.holds[type(lost.item)] -= 1
            lost.worker.work.set()
        lease = self.leases.get(token)
        if lease is not None:
            lease.since, lease.overdue = self._clock.now(), False
        return lease

    def offer_overdue(self) -> None:
        """Offer to others what its worker has not answered in time."""
        now = self._clock.now()
        for lease in list(self.leases.values()):
            item = lease.item
            allowed = LEASE_S * SECOND * 2**item.put_back
            if not isinstance(item, Activity) and not lease.overdue and now - lease.since >= allowed:
                lease.overdue = True
                item.put_back = min(item.put_back + 1, _PUT_BACK_MOST)
                self.offer(item)

    def activity_of(self, token: str) -> int | None:
        """The activity named by a token that this hub gave, be the lease current or not.

        The first completion of an activity counts, also when its worker was thought lost.
        """
        boot, _, rest = token.partition(".")
        seq = rest.partition(".")[2]
        return int(seq) if boot == self._boot and seq.isdecimal() else None

    def release(self, lease: Lease) -> None:
        """End a lease."""
        if self.leases.pop(lease.token, None) is None:
            return
        del lease.worker.leases[lease.token]
        lease.worker.holds[type(lease.item)] -= 1
        lease.worker.work.set()
        lease.item.lease = None

    def abandon(self, token: str) -> None:
        """A worker gives work back: offer it again, a little later each time."""
        lease = self.answered(token)
        if lease is not None:
            self._put_back(lease, _PUT_BACK_LONGEST_S)

    def _put_back(self, lease: Lease, longest_s: float) -> None:
        self.release(lease)
        delay = min(_PUT_BACK_S * 2**lease.item.put_back, longest_s)
        lease.item.put_back = min(lease.item.put_back + 1, _PUT_BACK_MOST)
        asyncio.get_running_loop().call_later(delay, self._offer_again, lease.item, self._queues)

    def _offer_again(self, item: Item, queues: object) -> None:
        if queues is self._queues:
            self.offer(item)
