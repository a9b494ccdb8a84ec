"""Reading what is on disk: states, histories, pages of them."""

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
from google.protobuf.message import Message

from aos.local.taskhub.errors import HubError
from aos.local.taskhub.wire import history_events, micros, optional, text, timestamp

_PAGE = 200
_LARGEST_PAGE = 1000
_CHUNK_EVENTS = 100

# A page or a chunk ends before it would be larger, unless one item alone is: gRPC clients take 4 MB.
_MESSAGE_BYTES = 2 * 1024 * 1024

_NUMBER = re.compile(r"[0-9]{1,18}")

_STATE = """
    SELECT i.id, i.name, i.version, i.status, i.start_at, i.created, i.updated, o.event, i.output,
           i.custom_status, i.failure, i.execution, i.completed, i.parent, i.no
    FROM instances i JOIN origins o ON o.no = i.no
"""

# Which of the entities with pending operations have how many is known to the hub, not to the tables.
type Backlog = Callable[[str], int]


def _state(row: tuple[Any, ...], *, payloads: bool) -> pb.OrchestrationState:
    (
        id_, name, version, status, start_at, created, updated, event, output,
        custom_status, failure, execution, completed, parent, _,
    ) = row  # fmt: skip
    origin = pb.ExecutionStartedEvent.FromString(event)
    return pb.OrchestrationState(
        instanceId=id_,
        name=name,
        version=text(version),
        orchestrationStatus=status,
        scheduledStartTimestamp=None if start_at is None else timestamp(start_at),
        createdTimestamp=timestamp(created),
        lastUpdatedTimestamp=timestamp(updated),
        input=text(optional(origin, "input")) if payloads else None,
        output=text(output) if payloads else None,
        customStatus=text(custom_status),
        failureDetails=None if failure is None else pb.TaskFailureDetails.FromString(failure),
        executionId=text(execution),
        completedTimestamp=None if completed is None else timestamp(completed),
        parentInstanceId=text(parent),
        tags=origin.tags,
    )


def read_state(connection: sqlite3.Connection, instance_id: str, *, payloads: bool) -> pb.GetInstanceResponse:
    """The state of one instance; `exists` is false if there is none."""
    row = connection.execute(_STATE + " WHERE i.id = ?", (instance_id,)).fetchone()
    if row is None:
        return pb.GetInstanceResponse(exists=False)
    return pb.GetInstanceResponse(exists=True, orchestrationState=_state(row, payloads=payloads))


class Conditions:
    """The WHERE clause of a query, as far as its request asks for one."""

    def __init__(self) -> None:
        self._clauses = ["1"]
        self.values: list[Any] = []

    def add(self, clause: str, *values: Any) -> None:
        """Require also this."""
        self._clauses.append(clause)
        self.values.extend(values)

    def one_of(self, column: str, values: list[Any]) -> None:
        """Require one of these values, if there are any."""
        if values:
            self.add(f"{column} IN ({','.join('?' * len(values))})", *values)

    def between(self, column: str, request: Message, start: str, end: str) -> None:
        """Require a time in the half-open range that two optional fields of the request give."""
        if request.HasField(start):
            self.add(f"{column} >= ?", micros(getattr(request, start)))
        if request.HasField(end):
            self.add(f"{column} < ?", micros(getattr(request, end)))

    def prefix(self, column: str, prefix: str | None) -> None:
        """Require that the text begins so."""
        if prefix:
            self.add(f"substr({column}, 1, ?) = ?", len(prefix), prefix)

    def __str__(self) -> str:
        return " AND ".join(self._clauses)


def _page_size(wanted: int) -> int:
    return min(wanted, _LARGEST_PAGE) if wanted > 0 else _PAGE


def _page[M: Message](
    rows: Iterable[tuple[Any, ...]], size: int, read: Callable[[tuple[Any, ...]], M]
) -> tuple[list[M], tuple[Any, ...] | None]:
    """The first of the rows, as many as go into one answer, and the last of them if there are more."""
    page: list[M] = []
    total = 0
    last: tuple[Any, ...] | None = None
    for row in rows:
        item = read(row)
        total += item.ByteSize()
        if page and (len(page) == size or total > _MESSAGE_BYTES):
            return page, last
        page.append(item)
        last = row
    return page, None


def _place(token: str | None) -> tuple[int, str] | None:
    """A place in an order by time and name: `<time>|<name>`."""
    if not token:
        return None
    when, bar, name = token.partition("|")
    if not bar or not _NUMBER.fullmatch(when):
        raise HubError(grpc.StatusCode.INVALID_ARGUMENT, f"'{token}' is no continuation token of this hub")
    return int(when), name


def query_instances(connection: sqlite3.Connection, query: pb.InstanceQuery) -> pb.QueryInstancesResponse:
    """A page of instances, oldest first."""
    where = Conditions()
    where.one_of("i.status", [int(status) for status in query.runtimeStatus])
    where.between("i.created", query, "createdTimeFrom", "createdTimeTo")
    where.prefix("i.id", optional(query, "instanceIdPrefix"))
    if place := _place(optional(query, "continuationToken")):
        if not _NUMBER.fullmatch(place[1]):
            raise HubError(grpc.StatusCode.INVALID_ARGUMENT, "no continuation token of this hub")
        where.add("(i.created, i.no) > (?, ?)", place[0], int(place[1]))
    size = _page_size(query.maxInstanceCount)
    rows = connection.execute(
        f"{_STATE} WHERE {where} ORDER BY i.created, i.no LIMIT ?", (*where.values, size + 1)
    )
    states, last = _page(rows, size, lambda row: _state(row, payloads=query.fetchInputsAndOutputs))
    more = f"{last[5]}|{last[-1]}" if last is not None else None
    return pb.QueryInstancesResponse(orchestrationState=states, continuationToken=text(more))


def list_instance_ids(
    connection: sqlite3.Connection, request: pb.ListInstanceIdsRequest
) -> pb.ListInstanceIdsResponse:
    """A page of the ids of ended instances, in the order in which they ended."""
    where = Conditions()
    where.add("completed IS NOT NULL")
    where.one_of("status", [int(status) for status in request.runtimeStatus])
    where.between("completed", request, "completedTimeFrom", "completedTimeTo")
    if place := _place(optional(request, "lastInstanceKey")):
        where.add("(completed, id) > (?, ?)", *place)
    size = _page_size(request.pageSize)
    rows = connection.execute(
        f"SELECT id, completed FROM instances WHERE {where} ORDER BY completed, id LIMIT ?",  # noqa: S608
        (*where.values, size + 1),
    ).fetchall()
    more = f"{rows[size - 1][1]}|{rows[size - 1][0]}" if len(rows) > size else None
    return pb.ListInstanceIdsResponse(instanceIds=[row[0] for row in rows[:size]], lastInstanceKey=text(more))


def purgeable(
    connection: sqlite3.Connection, wanted: pb.PurgeInstanceFilter, ended_before: int | None, limit: int
) -> list[str]:
    """The ids of up to `limit` ended instances that match."""
    where = Conditions()
    where.add("completed IS NOT NULL")
    where.one_of("status", [int(status) for status in wanted.runtimeStatus])
    where.between("created", wanted, "createdTimeFrom", "createdTimeTo")
    if ended_before is not None:
        where.add("completed < ?", ended_before)
    found = connection.execute(f"SELECT id FROM instances WHERE {where} LIMIT ?", (*where.values, limit))  # noqa: S608
    return [row[0] for row in found]


def read_history(connection: sqlite3.Connection, no: int) -> list[bytes]:
    """The history fragments of an instance, a turn each."""
    rows = connection.execute("SELECT events FROM history WHERE no = ? ORDER BY turn", (no,))
    return [row[0] for row in rows]


def history_chunks(fragments: list[bytes]) -> Iterator[pb.HistoryChunk]:
    """A history in messages of bearable size."""
    chunk = pb.HistoryChunk()
    size = 0
    for fragment in fragments:
        for event in history_events(fragment):
            size += event.ByteSize()
            if chunk.events and (len(chunk.events) == _CHUNK_EVENTS or size > _MESSAGE_BYTES):
                yield chunk
                chunk, size = pb.HistoryChunk(), event.ByteSize()
            chunk.events.append(event)
    if chunk.events:
        yield chunk


def _metadata(row: tuple[Any, ...], backlog: Backlog, *, with_state: bool) -> pb.EntityMetadata:
    id_, state, modified, locked_by = row
    return pb.EntityMetadata(
        instanceId=id_,
        lastModifiedTime=timestamp(modified),
        backlogQueueSize=backlog(id_),
        lockedBy=text(locked_by),
        serializedState=text(state) if with_state else None,
    )


def read_entity(
    connection: sqlite3.Connection, request: pb.GetEntityRequest, backlog: Backlog
) -> pb.GetEntityResponse:
    """An entity; without state it does not exist."""
    row = connection.execute(
        "SELECT id, state, modified, locked_by FROM entities WHERE id = ? AND state IS NOT NULL",
        (request.instanceId,),
    ).fetchone()
    if row is None:
        return pb.GetEntityResponse(exists=False)
    return pb.GetEntityResponse(exists=True, entity=_metadata(row, backlog, with_state=request.includeState))


def query_entities(
    connection: sqlite3.Connection, query: pb.EntityQuery, backlog: Backlog
) -> pb.QueryEntitiesResponse:
    """A page of entities, by id; those that are only locked are transient."""
    where = Conditions()
    where.prefix("id", optional(query, "instanceIdStartsWith"))
    where.between("modified", query, "lastModifiedFrom", "lastModifiedTo")
    if not query.includeTransient:
        where.add("state IS NOT NULL")
    if token := optional(query, "continuationToken"):
        where.add("id > ?", token)
    size = _page_size(query.pageSize.value)
    rows = connection.execute(
        f"SELECT id, state, modified, locked_by FROM entities WHERE {where} ORDER BY id LIMIT ?",  # noqa: S608
        (*where.values, size + 1),
    )
    entities, last = _page(rows, size, lambda row: _metadata(row, backlog, with_state=query.includeState))
    return pb.QueryEntitiesResponse(
        entities=entities, continuationToken=text(last[0] if last is not None else None)
    )


def locked_entities(connection: sqlite3.Connection) -> list[str]:
    """The entities that are locked."""
    return [row[0] for row in connection.execute("SELECT id FROM entities WHERE locked_by IS NOT NULL")]
