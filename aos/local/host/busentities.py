"""The queues, topics and subscriptions that the app's bindings name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aos.local.host.errors import HostError
from aos.local.host.functions import Function, Trigger, is_bus_output
from aos.local.servicebus import Topology, TopologyError

_DEAD_LETTERS = "/$deadletterqueue"


def trigger_entity(function: Function) -> str:
    """The path that a Service Bus trigger listens to: a queue, a subscription, or either's dead letters."""
    properties = function.properties
    if properties.get("queueName"):
        return str(properties["queueName"])
    return f"{properties['topicName']}/Subscriptions/{properties['subscriptionName']}"


def output_entity(binding: Mapping[str, Any]) -> str:
    """The queue or topic that a Service Bus output binding sends to."""
    return str(binding.get("queueName") or binding["topicName"])


def is_batch(function: Function) -> bool:
    """Whether the trigger hands over several messages at once."""
    return str(function.properties.get("cardinality", "one")).lower() == "many"


def wants_sessions(function: Function) -> bool:
    """Whether the trigger receives by sessions."""
    return str(function.properties.get("isSessionsEnabled", "false")).lower() == "true"


def bus_bindings(functions: Iterable[Function]) -> list[tuple[Function, Mapping[str, Any]]]:
    """Every Service Bus trigger and output binding of the functions that are not disabled."""
    return [
        (function, binding)
        for function in functions
        if not function.disabled
        for binding in function.bindings
        if is_bus_output(binding) or (function.trigger is Trigger.BUS and binding is function.properties)
    ]


def topology_of(functions: Iterable[Function]) -> Topology:
    """A topology of default properties, with all that bindings name; sessions where triggers want them."""
    named = _Named()
    for function, binding in bus_bindings(functions):
        if is_bus_output(binding):
            named.sent_to(binding)
        else:
            named.received_by(function)
    config = {"Namespaces": [{"Name": "local", **named.document()}]}
    try:
        return Topology.parse({"UserConfig": config})
    except TopologyError as error:
        message = f"the queues, topics and subscriptions that the app's bindings name: {error}"
        raise HostError(message, code=1) from error


@dataclass(slots=True)
class _Entity:
    name: str
    sessions: bool = False
    wanted_by: Function | None = None


@dataclass(slots=True)
class _Named:
    """What was named so far, by lower-case name."""

    queues: dict[str, _Entity] = field(default_factory=dict)
    topics: dict[str, _Entity] = field(default_factory=dict)
    subscriptions: dict[str, dict[str, _Entity]] = field(default_factory=dict)

    def sent_to(self, binding: Mapping[str, Any]) -> None:
        entities = self.queues if binding.get("queueName") else self.topics
        name = output_entity(binding)
        entities.setdefault(name.lower(), _Entity(name))

    def received_by(self, function: Function) -> None:
        properties = function.properties
        if properties.get("queueName"):
            self._receiver(self.queues, str(properties["queueName"]), function)
            return
        topic = str(properties["topicName"])
        self.topics.setdefault(topic.lower(), _Entity(topic))
        below = self.subscriptions.setdefault(topic.lower(), {})
        self._receiver(below, str(properties["subscriptionName"]), function)

    def _receiver(self, entities: dict[str, _Entity], path: str, function: Function) -> None:
        """A queue or subscription is received from, or (which says nothing of sessions) its dead letters."""
        dead = path.lower().endswith(_DEAD_LETTERS)
        name = path[: -len(_DEAD_LETTERS)] if dead else path
        entity = entities.setdefault(name.lower(), _Entity(name))
        if dead:
            return
        sessions = wants_sessions(function)
        if entity.wanted_by is not None and entity.sessions != sessions:
            raise HostError(
                f"functions {entity.wanted_by.name} and {function.name} disagree on whether {name!r} has"
                " sessions: is_sessions_enabled must be the same",
                code=1,
            )
        entity.sessions, entity.wanted_by = sessions, function

    def document(self) -> dict[str, Any]:
        topics = [
            {"Name": topic.name, "Subscriptions": _entries(self.subscriptions.get(key, {}))}
            for key, topic in sorted(self.topics.items())
        ]
        return {"Queues": _entries(self.queues), "Topics": topics}


def _entries(entities: Mapping[str, _Entity]) -> list[dict[str, Any]]:
    return [
        {"Name": entity.name, "Properties": {"RequiresSession": entity.sessions}}
        for _, entity in sorted(entities.items())
    ]
