"""The app's functions as the worker indexed them, checked against what this host can do."""

import enum
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aos.local.host.errors import AppError
from aos.local.host.retries import RetryPolicy, retry_policy
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
_BUS_OUTPUT = ("servicebus", "out")
_OTHER_BINDINGS = {("durableclient", "in"), ("http", "out"), _BUS_OUTPUT}


@dataclass(frozen=True, slots=True)
class Function:
    """One function: its trigger's properties (settings substituted), and what else it is bound to.

    One that `takes_turns` is an orchestrator or entity to which a worker can be sent turns as they are; the
    `lane` is for those and for others that run on a thread from the first to the last.
    `trigger` is `None` for a kind that this host does not have; then the function is disabled.
    `sdk_types` says that it takes messages as the SDK's own type, `settles` that it settles them itself.
    """

    name: str
    function_id: str
    trigger: Trigger | None
    properties: Mapping[str, Any]
    bindings: tuple[Mapping[str, Any], ...]
    disabled: bool = False
    retry: RetryPolicy | None = None
    sdk_types: bool = False
    settles: bool = False
    takes_turns: bool = False
    lane: bool = False

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


def is_bus_output(binding: Mapping[str, Any]) -> bool:
    """Whether the binding sends to Service Bus."""
    return _kind(binding) == _BUS_OUTPUT


def functions_of(
    metadata: Iterable[Mapping[str, Any]], settings: Mapping[str, str], only: tuple[str, ...] = ()
) -> list[Function]:
    """The functions to serve; `AppError` names every function and binding that cannot be served.

    Nothing is asked of functions that are disabled, by a setting or because `only` leaves them out.
    """
    functions, refusals = [], []
    for entry in metadata:
        name = str(entry["name"])
        disabled = _disabled(name, settings) or (bool(only) and name not in only)
        problems = [] if disabled else [f"function {name}: {reason}" for reason in _refusals(entry)]
        refusals += problems
        if not problems:
            functions.append(_function(entry, settings, disabled=disabled))
    if refusals:
        raise AppError(
            f"this host cannot serve the app: {'; '.join(refusals)}. Its triggers are {', '.join(Trigger)};"
            " it serves an app without a function when the app setting AzureWebJobs.NAME.Disabled is true"
        )
    if not functions:
        raise AppError("the app has no functions")
    return functions


def _disabled(name: str, settings: Mapping[str, str]) -> bool:
    return settings.get(f"AzureWebJobs.{name}.Disabled", "").lower() in ("true", "1")


def _refusals(entry: Mapping[str, Any]) -> Iterable[str]:
    if entry.get("retry"):
        try:
            retry_policy(entry["retry"])
        except ValueError as error:
            yield f"its retry policy cannot be followed: {error}"
    kinds = {_kind(binding)[0] for binding in entry["bindings"]}
    if entry.get("settlement") and Trigger.BUS.lower() not in kinds:
        yield f"{entry['settlement']!r} settles messages, and the function has no {Trigger.BUS}"
    names = Counter(str(binding.get("name")) for binding in entry["bindings"])
    yield from (f"{count} bindings are called {name!r}" for name, count in names.items() if count > 1)
    for binding in entry["bindings"]:
        kind, direction = _kind(binding)
        label = f"binding {binding.get('name')!r} of type {binding['type']}"
        if kind in _TRIGGERS:
            if entry.get("deferred") and kind != Trigger.BUS.lower():
                yield f"{label} with an SDK type as its parameter is not supported"
        elif (kind, direction) not in _OTHER_BINDINGS:
            yield f"{label} ({direction}) is not supported"
        if kind == Trigger.BUS.lower() or is_bus_output(binding):
            yield from (f"{label} {problem}" for problem in _bus_problems(binding))


def _bus_problems(binding: Mapping[str, Any]) -> Iterable[str]:
    """What is wrong with a Service Bus binding: with the names in it, above all."""
    queue, topic = binding.get("queueName"), binding.get("topicName")
    needs_subscription = bool(topic) and not is_bus_output(binding)
    if bool(queue) == bool(topic) or (needs_subscription and not binding.get("subscriptionName")):
        needed = "a topic" if is_bus_output(binding) else "a topic and its subscription"
        yield f"must name either a queue or {needed}"
    most = binding.get("maxMessageBatchSize")
    if most is not None and (not str(most).isdecimal() or int(most) < 1):
        yield f"has a maxMessageBatchSize of {most!r}: it must be a whole number of at least 1"
    for name in (queue, topic, binding.get("subscriptionName")):
        if isinstance(name, str) and "{" in name:
            yield f"names {name!r}: binding expressions are not supported"


def _kind(binding: Mapping[str, Any]) -> tuple[str, str]:
    return str(binding["type"]).lower(), str(binding.get("direction", "in")).lower()


def _function(entry: Mapping[str, Any], settings: Mapping[str, str], *, disabled: bool) -> Function:
    name, bindings = str(entry["name"]), entry["bindings"]
    if not disabled:
        bindings = [_resolved(name, binding, settings) for binding in bindings]
    triggers = (binding for binding in bindings if _kind(binding)[0] in _TRIGGERS)
    properties: Mapping[str, Any] = next(triggers, {})
    return Function(
        name=name,
        function_id=str(entry["id"]),
        trigger=_TRIGGERS[_kind(properties)[0]] if properties else None,
        properties=properties,
        bindings=tuple(bindings),
        disabled=disabled,
        retry=retry_policy(entry["retry"]) if entry.get("retry") and not disabled else None,
        sdk_types=bool(entry.get("deferred")),
        settles=bool(entry.get("settlement")) and not disabled,
        takes_turns=bool(entry.get("turns")),
        lane=bool(entry.get("lane")),
    )


def _resolved(name: str, binding: Mapping[str, Any], settings: Mapping[str, str]) -> Mapping[str, Any]:
    """The binding with each `%NAME%` replaced by the app setting."""
    where = f"function {name}, binding {binding.get('name')!r}"
    return {
        key: substitute(value, settings, where) if isinstance(value, str) else value
        for key, value in binding.items()
    }
