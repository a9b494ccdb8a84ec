"""Encoding work items: put together from kept bytes, never parsed."""

import durabletask.internal.orchestrator_service_pb2 as pb

from aos.local.taskhub.dispatch import Lease
from aos.local.taskhub.records import Activity, Entity, Instance, Kind
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
            parts = _orchestrator_request(lease, instance)
            return b"".join((field_head(_ORCHESTRATOR, sum(map(len, parts))), *parts, token))
        case Activity() as activity:
            return field(_ACTIVITY, activity.request) + token
        case Entity() as entity:
            return field(_ENTITY, _entity_request(lease, entity)) + token


def _orchestrator_request(lease: Lease, instance: Instance) -> list[bytes]:
    history = instance.history or []
    parts = [
        field(_INSTANCE_ID, instance.id.encode()),
        field(_EXECUTION_ID, field(1, instance.execution.encode())),
    ]
    if lease.worker.streams_history and sum(map(len, history)) > _STREAMED_BYTES:
        parts.append(_REQUIRES_HISTORY_STREAMING)
    else:
        parts.extend(history)
    parts.append(new_event(lease.started))
    parts.extend(new_event(message.event) for message in lease.messages)
    if instance.trace:
        parts.append(field(_TRACE, instance.trace))
    return parts


def _entity_request(lease: Lease, entity: Entity) -> bytes:
    request = pb.EntityBatchRequest(instanceId=entity.id, entityState=text(entity.state))
    for message in lease.messages:
        event = pb.HistoryEvent.FromString(message.event)
        called = event.entityOperationCalled if message.kind is Kind.CALL else event.entityOperationSignaled
        operation = request.operations.add(operation=called.operation, requestId=called.requestId)
        if called.HasField("input"):
            operation.input.CopyFrom(called.input)
    encoded: bytes = request.SerializeToString()
    return encoded
