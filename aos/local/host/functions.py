"""The app's functions as the worker indexed them, checked against what this host can do."""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aos.local.host.errors import AppError
from aos.local.host.settings import substitute


class Trigger(enum.StrEnum):
    """The triggers that this host serves, by their binding type."""

    HTTP = "httpTrigger"
    TIMER = "timerTrigger"
    BUS = "serviceBusTrigger"
    ORCHESTRATION = "orchestrationTrigger"
    ENTITY = "entityTrigger"
    ACTIVITY = "activityTrigger"


_TRIGGERS = {trigger.lower(): trigger for trigger in Trigger}
_OTHER_BINDINGS = {("durableclient", "in"), ("http", "out")}
_REFUSED_PROPERTIES = {
    "topicName": "a topic subscription",
    "isSessionsEnabled": "sessions",
}


@dataclass(frozen=True, slots=True)
class Function:
    """One function: its trigger's properties (settings substituted), and what else it is bound to."""

    name: str
    function_id: str
    trigger: Trigger
    properties: Mapping[str, Any]
    bindings: tuple[Mapping[str, Any], ...]
    disabled: bool = False

    @property
    def durable_name(self) -> str:
        """The name by which orchestrations call this function."""
        named = next(
            (
                self.properties.get(key)
                for key in ("orchestration", "activity", "entityName")
                if self.properties.get(key)
            ),
            None,
        )
        return str(named or self.name)


def functions_of(
    metadata: Iterable[Mapping[str, Any]], settings: Mapping[str, str], only: tuple[str, ...] = ()
) -> list[Function]:
    """The functions to serve; `AppError` names every function and binding that cannot be served."""
    functions, refusals = [], []
    for entry in metadata:
        name, bindings = str(entry["name"]), entry["bindings"]
        problems = [f"function {name}: {reason}" for reason in _refusals(entry)]
        refusals += problems
        if not problems:
            functions.append(_function(name, str(entry["id"]), bindings, settings, only))
    if refusals:
        raise AppError("this host cannot serve the app: " + "; ".join(refusals))
    if not functions:
        raise AppError("the app has no functions")
    return functions


def _refusals(entry: Mapping[str, Any]) -> Iterable[str]:
    if entry.get("retry"):
        yield "a retry policy is not supported"
    if entry.get("settlement"):
        yield "a settlement client is not supported"
    for binding in entry["bindings"]:
        kind, direction = str(binding["type"]), str(binding.get("direction", "in")).lower()
        label = f"binding {binding.get('name')!r} of type {kind}"
        if kind.lower() in _TRIGGERS:
            for key, what in _REFUSED_PROPERTIES.items():
                if binding.get(key):
                    yield f"{label} with {what} ({key}) is not supported"
            if kind == Trigger.BUS and str(binding.get("cardinality", "one")).lower() == "many":
                yield f"{label} with cardinality many is not supported"
            if entry.get("deferred"):
                yield f"{label} with an SDK type as its parameter is not supported"
        elif (kind.lower(), direction) not in _OTHER_BINDINGS:
            yield f"{label} ({direction}) is not supported"


def _function(
    name: str,
    function_id: str,
    bindings: Iterable[Mapping[str, Any]],
    settings: Mapping[str, str],
    only: tuple[str, ...],
) -> Function:
    resolved = tuple(
        {
            key: substitute(value, settings, f"function {name}, binding {binding.get('name')!r}")
            if isinstance(value, str)
            else value
            for key, value in binding.items()
        }
        for binding in bindings
    )
    properties = next(b for b in resolved if str(b["type"]).lower() in _TRIGGERS)
    disabled = settings.get(f"AzureWebJobs.{name}.Disabled", "").lower() in ("true", "1")
    left_out = bool(only) and name not in only
    return Function(
        name=name,
        function_id=function_id,
        trigger=_TRIGGERS[str(properties["type"]).lower()],
        properties=properties,
        bindings=resolved,
        disabled=disabled or left_out,
    )
