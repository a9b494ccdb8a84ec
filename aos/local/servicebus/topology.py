"""What exists in the namespace: the JSON format of Microsoft's Service Bus emulator, checked strictly."""

import itertools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aos.local.servicebus.entities import (
    EntitySettings,
    QueueDefinition,
    Status,
    SubscriptionDefinition,
    TopicDefinition,
)
from aos.local.servicebus.filters import Filter, FilterError, correlation_filter
from aos.local.servicebus.rules import Rule
from aos.local.servicebus.sql_action import Action, sql_action
from aos.local.servicebus.sql_filter import sql_filter

_DURATION = re.compile(
    r"P(?:(?P<days>\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,258}[A-Za-z0-9])?")
_MAX_LOCK_MS = 5 * 60_000
_MAX_MEGABYTES = 80 * 1024
Reader = Callable[[Any, str], Any]


class TopologyError(Exception):
    """A topology that cannot be used; the message starts with the JSON path, or the file's name."""


@dataclass(frozen=True, slots=True)
class Topology:
    """Every queue and topic of the namespace."""

    queues: tuple[QueueDefinition, ...] = field(default=())
    topics: tuple[TopicDefinition, ...] = field(default=())

    @classmethod
    def load(cls, path: str | Path) -> "Topology":
        """Read a file. Raises TopologyError, naming the file."""
        try:
            document = json.loads(Path(path).read_text("utf-8"))
        except OSError as error:
            raise TopologyError(f"{path}: {error.strerror}") from error
        except ValueError as error:
            raise TopologyError(f"{path}: not JSON: {error}") from error
        try:
            return cls.parse(document)
        except TopologyError as error:
            raise TopologyError(f"{path}: {error}") from error

    @classmethod
    def parse(cls, document: Any) -> "Topology":
        """Check a document. Raises TopologyError with the JSON path of the first fault."""
        config = _object(document, "$", {"UserConfig": _anything}, required={"UserConfig"})["UserConfig"]
        keys: dict[str, Reader] = {"Namespaces": _anything, "Logging": _anything}
        namespaces = _object(config, "UserConfig", keys, required={"Namespaces"})["Namespaces"]
        if not isinstance(namespaces, list) or len(namespaces) != 1:
            raise TopologyError("UserConfig.Namespaces: expected an array with one namespace")
        path = "UserConfig.Namespaces[0]"
        keys = {"Name": _string, "Queues": _array_of(_queue), "Topics": _array_of(_topic)}
        namespace = _object(namespaces[0], path, keys)
        topology = cls(namespace.get("Queues", ()), namespace.get("Topics", ()))
        _check_names(topology, path)
        return topology


def _object(
    value: Any, path: str, readers: Mapping[str, Reader], required: frozenset[str] | set[str] = frozenset()
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TopologyError(f"{path}: expected an object, found {_kind(value)}")
    for key in required - value.keys():
        raise TopologyError(f"{path}.{key}: missing")
    for key in value:
        if key not in readers:
            raise TopologyError(f"{path}.{key}: unknown key; known are {', '.join(sorted(readers))}")
    return {key: readers[key](item, f"{path}.{key}") for key, item in value.items() if item is not None}


def _array_of(read: Reader) -> Reader:
    def reader(value: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise TopologyError(f"{path}: expected an array, found {_kind(value)}")
        return tuple(read(item, f"{path}[{index}]") for index, item in enumerate(value))

    return reader


def _anything(value: Any, _path: str) -> Any:
    return value


def _string(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise TopologyError(f"{path}: expected a string, found {_kind(value)}")
    return value


def _name(value: Any, path: str) -> str:
    name = _string(value, path)
    if not _NAME.fullmatch(name):
        raise TopologyError(f"{path}: {name!r} is no entity name (letters, digits and . _ - / inside)")
    return name


def _boolean(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise TopologyError(f"{path}: expected true or false, found {_kind(value)}")
    return value


def _never(value: Any, path: str) -> None:
    if _boolean(value, path):
        raise TopologyError(f"{path}: true is not supported")


def _delivery_count(value: Any, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 2000:
        raise TopologyError(f"{path}: expected a number from 1 to 2000, found {value!r}")
    return value


def duration_ms(value: Any, path: str) -> int:
    """An ISO 8601 duration such as PT1M30S, in milliseconds. Raises TopologyError."""
    text = _string(value, path)
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise TopologyError(f"{path}: {text!r} is no ISO 8601 duration such as PT1M")
    parts = {unit: float(amount or 0) for unit, amount in match.groupdict().items()}
    hours = parts["days"] * 24 + parts["hours"]
    total = round(((hours * 60 + parts["minutes"]) * 60 + parts["seconds"]) * 1000)
    if total <= 0:
        raise TopologyError(f"{path}: {text!r} must be longer than nothing")
    return total


def _lock_duration(value: Any, path: str) -> int:
    lock_ms = duration_ms(value, path)
    if lock_ms > _MAX_LOCK_MS:
        raise TopologyError(f"{path}: a lock lasts at most PT5M")
    return lock_ms


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _status(*allowed: Status) -> Reader:
    def reader(value: Any, path: str) -> Status:
        for status in allowed:
            if status.value == value:
                return status
        names = ", ".join(status.value for status in allowed)
        raise TopologyError(f"{path}: expected one of {names}, found {value!r}")

    return reader


def _megabytes(value: Any, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_MEGABYTES:
        raise TopologyError(f"{path}: expected a number from 1 to {_MAX_MEGABYTES}, found {value!r}")
    return value


_SUBSCRIPTION_PROPERTIES: dict[str, Reader] = {
    "LockDuration": _lock_duration,
    "MaxDeliveryCount": _delivery_count,
    "DefaultMessageTimeToLive": duration_ms,
    "DeadLetteringOnMessageExpiration": _boolean,
    "RequiresSession": _boolean,
    "ForwardTo": _string,
    "ForwardDeadLetteredMessagesTo": _string,
    "Status": _status(Status.ACTIVE, Status.DISABLED, Status.RECEIVE_DISABLED),
}
_QUEUE_PROPERTIES: dict[str, Reader] = {
    **_SUBSCRIPTION_PROPERTIES,
    "RequiresDuplicateDetection": _boolean,
    "DuplicateDetectionHistoryTimeWindow": duration_ms,
    "EnablePartitioning": _never,
    "MaxSizeInMegabytes": _megabytes,
    "Status": _status(*Status),
}
_TOPIC_PROPERTIES: dict[str, Reader] = {
    "DefaultMessageTimeToLive": duration_ms,
    "RequiresDuplicateDetection": _boolean,
    "DuplicateDetectionHistoryTimeWindow": duration_ms,
    "EnablePartitioning": _never,
    "MaxSizeInMegabytes": _megabytes,
    "Status": _status(Status.ACTIVE, Status.DISABLED, Status.SEND_DISABLED),
}
_DEFAULT_WINDOW_MS = 10 * 60_000


def _settings(properties: Mapping[str, Any]) -> EntitySettings:
    defaults = EntitySettings()
    return EntitySettings(
        lock_ms=properties.get("LockDuration", defaults.lock_ms),
        max_delivery_count=properties.get("MaxDeliveryCount", defaults.max_delivery_count),
        default_ttl_ms=properties.get("DefaultMessageTimeToLive"),
        dead_letter_on_expiration=properties.get("DeadLetteringOnMessageExpiration", False),
        duplicate_window_ms=_window(properties),
        requires_session=properties.get("RequiresSession", False),
        forward_to=properties.get("ForwardTo") or None,
        forward_dead_letters_to=properties.get("ForwardDeadLetteredMessagesTo") or None,
        status=properties.get("Status", defaults.status),
        max_megabytes=properties.get("MaxSizeInMegabytes", defaults.max_megabytes),
    )


def _window(properties: Mapping[str, Any]) -> int | None:
    if not properties.get("RequiresDuplicateDetection", False):
        return None
    window: int = properties.get("DuplicateDetectionHistoryTimeWindow", _DEFAULT_WINDOW_MS)
    return window


def _queue(value: Any, path: str) -> QueueDefinition:
    keys: dict[str, Reader] = {"Name": _name, "Properties": _properties(_QUEUE_PROPERTIES)}
    queue = _object(value, path, keys, required={"Name"})
    return QueueDefinition(queue["Name"], _settings(queue.get("Properties", {})))


def _topic(value: Any, path: str) -> TopicDefinition:
    keys: dict[str, Reader] = {
        "Name": _name,
        "Properties": _properties(_TOPIC_PROPERTIES),
        "Subscriptions": _array_of(_subscription),
    }
    topic = _object(value, path, keys, required={"Name"})
    properties = topic.get("Properties", {})
    subscriptions = topic.get("Subscriptions", ())
    return TopicDefinition(topic["Name"], _settings(properties), subscriptions)


def _subscription(value: Any, path: str) -> SubscriptionDefinition:
    # Filters here give "unknown" where the service would fail, so there is nothing to dead-letter.
    properties = {**_SUBSCRIPTION_PROPERTIES, "DeadLetteringOnFilterEvaluationExceptions": _boolean}
    keys: dict[str, Reader] = {
        "Name": _name,
        "Properties": _properties(properties),
        "Rules": _array_of(_rule),
    }
    subscription = _object(value, path, keys, required={"Name"})
    rules = subscription.get("Rules", ())
    _unique([rule.name for rule in rules], f"{path}.Rules")
    settings = _settings(subscription.get("Properties", {}))
    return SubscriptionDefinition(subscription["Name"], settings, rules)


def _rule(value: Any, path: str) -> Rule:
    keys: dict[str, Reader] = {"Name": _string, "Properties": _rule_properties}
    rule = _object(value, path, keys, required={"Name", "Properties"})
    return Rule(rule["Name"], *rule["Properties"])


def _rule_properties(value: Any, path: str) -> tuple[Filter, Action | None]:
    keys: dict[str, Reader] = {
        "FilterType": _string,
        "CorrelationFilter": _correlation,
        "SqlFilter": _sql,
        "Action": _action,
    }
    parts = _object(value, path, keys)
    kind = parts.get("FilterType", "Correlation" if "CorrelationFilter" in parts else "Sql")
    name = {"Correlation": "CorrelationFilter", "Sql": "SqlFilter"}.get(kind)
    if name is None:
        raise TopologyError(f"{path}.FilterType: expected Correlation or Sql, found {kind!r}")
    if name not in parts:
        raise TopologyError(f"{path}.{name}: missing")
    return parts[name], parts.get("Action")


def _correlation(value: Any, path: str) -> Filter:
    strings = ("ContentType", "CorrelationId", "Label", "MessageId", "ReplyTo")
    names = (*strings, "ReplyToSessionId", "SessionId", "To")
    keys: dict[str, Reader] = dict.fromkeys(names, _string) | {"Properties": _simple_values}
    fields = _object(value, path, keys)
    return correlation_filter(fields.pop("Properties", {}), **fields)


def _simple_values(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TopologyError(f"{path}: expected an object, found {_kind(value)}")
    for name, item in value.items():
        if not isinstance(item, str | int | float | bool):
            raise TopologyError(f"{path}.{name}: expected a simple value, found {_kind(item)}")
    return value


def _compiled[T](value: Any, path: str, compile_: Callable[[str], T]) -> T:
    text = _object(value, path, {"SqlExpression": _string}, required={"SqlExpression"})["SqlExpression"]
    try:
        return compile_(text)
    except FilterError as error:
        raise TopologyError(f"{path}.SqlExpression: {error}") from error


def _sql(value: Any, path: str) -> Filter:
    return _compiled(value, path, sql_filter)


def _action(value: Any, path: str) -> Action:
    return _compiled(value, path, sql_action)


def _properties(readers: Mapping[str, Reader]) -> Reader:
    return lambda value, path: _object(value, path, readers)


def _check_names(topology: Topology, path: str) -> None:
    names = [queue.name for queue in topology.queues] + [topic.name for topic in topology.topics]
    _unique(names, path)
    for topic in topology.topics:
        _unique([each.name for each in topic.subscriptions], f"{path}.Topics[{topic.name}].Subscriptions")
    targets = {queue.name.lower(): queue.settings.forwards for queue in topology.queues}
    for topic in topology.topics:
        forwards = (each.settings.forwards for each in topic.subscriptions)
        targets[topic.name.lower()] = tuple(itertools.chain.from_iterable(forwards))
    for name in names:
        _check_forwarding(name, targets, path, ())


def _check_forwarding(
    name: str, targets: Mapping[str, tuple[str, ...]], path: str, trail: tuple[str, ...]
) -> None:
    """Follow every forwarding, of dead letters too: each must lead to something, and never back."""
    if name.lower() not in targets:
        raise TopologyError(f"{path}: nothing is called {name!r}, to which {trail[-1]!r} forwards")
    if name.lower() in map(str.lower, trail):
        raise TopologyError(f"{path}: forwarding goes in a circle: {' -> '.join((*trail, name))}")
    for target in targets[name.lower()]:
        _check_forwarding(target, targets, path, (*trail, name))


def _unique(names: list[str], path: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise TopologyError(f"{path}: {name!r} is there twice")
        seen.add(name.lower())
