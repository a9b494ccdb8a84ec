"""Encoding work items: put together from kept bytes, never parsed."""

import durabletask.internal.orchestrator_service_pb2 as pb

from aos.local.taskhub.dispatch import Lease
from aos.local.taskhub.records import Activity, Entity, Instance, Kept, Kind
from aos.local.taskhub.wire import field, field_head, new_event, text

# Field numbers of WorkItem and OrchestratorRequest.
_ORCHESTRATOR, _ACTIVITY, _ENTITY, _TOKEN = 1, 2, 3, 10
_INSTANCE_ID, _EXECUTION_ID, _TRACE = 1, 2, 8
_REQUIRES_HISTORY_STREAMING = b"\x30\x01"

# A history longer than this is left for a worker that can stream it to fetch.
_STREAMED_BYTES = 1024 * 1024


def encode(lease: Lease) -> bytes:
    """The lease's item as an encoded WorkItem."""
    token = field(_TOKEN, lease.token.encode())
    match lease.item:
        case Instance() as instance:
            # Put together once: a long history is not copied from one whole to the next.
            parts = turn_request(lease, instance)
            return b"".join((field_head(_ORCHESTRATOR, sum(map(len, parts))), *parts, token))
        case Activity() as activity:
            return field(_ACTIVITY, activity.request) + token
        case Entity() as entity:
            return field(_ENTITY, batch_request(lease, entity)) + token


def turn_request(lease: Lease, instance: Instance) -> list[bytes]:
    """A turn as the pieces of an encoded OrchestratorRequest."""
    history = instance.history or []
    if lease.worker.streams_history and sum(map(len, history)) > _STREAMED_BYTES:
        history = [_REQUIRES_HISTORY_STREAMING]
    return _request(lease, instance, history)


def next_turn_request(lease: Lease, instance: Instance, kept: Kept) -> list[bytes]:
    """As `turn_request`, for whoever keeps the orchestration: without the events that it was given before."""
    return _request(lease, instance, [kept.confirmed])


def _request(lease: Lease, instance: Instance, past: list[bytes]) -> list[bytes]:
    parts = [
        field(_INSTANCE_ID, instance.id.encode()),
        field(_EXECUTION_ID, field(1, instance.execution.encode())),
        *past,
        new_event(lease.started),
        *(new_event(message.event) for message in lease.messages),
    ]
    if instance.trace:
        parts.append(field(_TRACE, instance.trace))
    return parts


def batch_request(lease: Lease, entity: Entity) -> bytes:
    """A batch of operations as an encoded EntityBatchRequest."""
    request = pb.EntityBatchRequest(instanceId=entity.id, entityState=text(entity.state))
    for message in lease.messages:
        event = pb.HistoryEvent.FromString(message.event)
        called = event.entityOperationCalled if message.kind is Kind.CALL else event.entityOperationSignaled
        operation = request.operations.add(operation=called.operation, requestId=called.requestId)
        if called.HasField("input"):
            operation.input.CopyFrom(called.input)
    encoded: bytes = request.SerializeToString()
    return encoded
