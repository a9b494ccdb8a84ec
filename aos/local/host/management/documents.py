"""The JSON that the management API answers with: an instance's status, an entity, an error."""

import json
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from aos.local.taskhub.wire import optional

STATUS_NAMES = {
    pb.ORCHESTRATION_STATUS_RUNNING: "Running",
    pb.ORCHESTRATION_STATUS_COMPLETED: "Completed",
    pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW: "ContinuedAsNew",
    pb.ORCHESTRATION_STATUS_FAILED: "Failed",
    pb.ORCHESTRATION_STATUS_CANCELED: "Canceled",
    pb.ORCHESTRATION_STATUS_TERMINATED: "Terminated",
    pb.ORCHESTRATION_STATUS_PENDING: "Pending",
    pb.ORCHESTRATION_STATUS_SUSPENDED: "Suspended",
}


def payload(text: str | None) -> Any:
    """A stored payload as JSON; what is not JSON is a string."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def seconds_text(moment: Timestamp) -> str:
    """A time to the second, as a status shows it."""
    return f"{moment.ToDatetime():%Y-%m-%dT%H:%M:%S}Z"


def exact_text(moment: Timestamp) -> str:
    """A time to the microsecond."""
    return f"{moment.ToDatetime():%Y-%m-%dT%H:%M:%S.%f}Z"


def status_document(state: pb.OrchestrationState, *, with_input: bool = True) -> dict[str, Any]:
    """An instance as `GET instances/{id}` shows it. The output of a failed one is its failure's message."""
    output = optional(state, "output")
    if output is None and state.HasField("failureDetails"):
        output = json.dumps(state.failureDetails.errorMessage)
    return {
        "name": state.name,
        "instanceId": state.instanceId,
        "runtimeStatus": STATUS_NAMES[state.orchestrationStatus],
        "input": payload(optional(state, "input")) if with_input else None,
        "customStatus": payload(optional(state, "customStatus")),
        "output": payload(output),
        "createdTime": seconds_text(state.createdTimestamp),
        "lastUpdatedTime": seconds_text(state.lastUpdatedTimestamp),
    }


def entity_document(entity: pb.EntityMetadata) -> dict[str, Any]:
    """An entity in a list of them; its state when it was asked for."""
    name, _, key = entity.instanceId.removeprefix("@").partition("@")
    document = {
        "entityId": {"name": name, "key": key},
        "lastOperationTime": exact_text(entity.lastModifiedTime),
    }
    state = optional(entity, "serializedState")
    return document if state is None else {**document, "state": payload(state)}
