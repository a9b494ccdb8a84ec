"""An instance's history as the management API shows it: what came of each step."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
from google.protobuf.message import Message

from aos.local.host.management.documents import STATUS_NAMES, exact_text, payload

_UNSEEN = {"orchestratorStarted", "orchestratorCompleted"}
_SCHEDULED = {"taskScheduled", "subOrchestrationInstanceCreated"}
_ENDED = {
    "taskCompleted",
    "taskFailed",
    "subOrchestrationInstanceCompleted",
    "subOrchestrationInstanceFailed",
}
_RESULTS = {"result", "output"}
_LEFT_OUT = {
    "version", "tags", "parentTraceContext", "orchestrationSpanID", "orchestrationInstance", "parentInstance",
    "taskScheduledId", "timerId",
}  # fmt: skip
_RENAMED = {"scheduledStartTimestamp": "ScheduledStartTime"}


@dataclass(frozen=True, slots=True)
class Shown:
    """Which payloads are shown."""

    inputs: bool
    outputs: bool


def history_document(events: Iterable[pb.HistoryEvent], shown: Shown) -> list[dict[str, Any]]:
    """The events in order. A scheduled step that has ended is told by its end alone."""
    entries: list[dict[str, Any] | None] = []
    scheduled: dict[int, int] = {}
    for event in events:
        kind = str(event.WhichOneof("eventType"))
        if kind in _UNSEEN:
            continue
        entry = _entry(kind, event, shown)
        if kind in _SCHEDULED:
            scheduled[event.eventId] = len(entries)
        elif kind in _ENDED:
            begun = scheduled.pop(getattr(event, kind).taskScheduledId, None)
            if begun is not None:
                _take_over(entry, entries[begun] or {})
                entries[begun] = None
        entries.append(entry)
    return [entry for entry in entries if entry is not None]


def _take_over(ended: dict[str, Any], begun: dict[str, Any]) -> None:
    ended["ScheduledTime"] = begun["Timestamp"]
    ended["FunctionName"] = begun["Name"]
    if "Input" in begun:
        ended["Input"] = begun["Input"]


def _entry(kind: str, event: pb.HistoryEvent, shown: Shown) -> dict[str, Any]:
    detail = getattr(event, kind)
    entry: dict[str, Any] = {"EventType": _capitalized(kind), "Timestamp": exact_text(event.timestamp)}
    for field, value in detail.ListFields():
        hidden = (field.name == "input" and not shown.inputs) or (
            field.name in _RESULTS and not shown.outputs
        )
        if field.name not in _LEFT_OUT and not hidden:
            entry[_RENAMED.get(field.name, _capitalized(field.name))] = _value(field.name, value)
    if kind == "executionStarted":
        entry["FunctionName"] = entry.pop("Name")
    elif kind == "executionCompleted":
        entry["OrchestrationStatus"] = STATUS_NAMES[detail.orchestrationStatus]  # zero is Running: not listed
    return entry


def _value(name: str, value: Any) -> Any:
    if name in _RESULTS:
        return payload(value.value)
    if not isinstance(value, Message):
        return value if isinstance(value, str | int | float) else list(value)
    match value.DESCRIPTOR.name:
        case "StringValue":
            return value.value  # type: ignore[attr-defined]
        case "Timestamp":
            return exact_text(value)  # type: ignore[arg-type]
        case "TaskFailureDetails":
            return _failure(value)  # type: ignore[arg-type]
        case _:
            return {_capitalized(each.name): _value(each.name, inner) for each, inner in value.ListFields()}


def _failure(details: pb.TaskFailureDetails) -> dict[str, Any]:
    return {
        "ErrorType": details.errorType,
        "ErrorMessage": details.errorMessage,
        "StackTrace": details.stackTrace.value or None,
        "InnerFailure": _failure(details.innerFailure) if details.HasField("innerFailure") else None,
        "IsNonRetriable": details.isNonRetriable,
    }


def _capitalized(name: str) -> str:
    return name[0].upper() + name[1:]
