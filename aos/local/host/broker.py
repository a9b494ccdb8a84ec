"""The Service Bus namespace of the app: its topology, and the settings by which functions find it."""

from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path

from aos.local.host.errors import HostError
from aos.local.host.functions import Function, Trigger
from aos.local.servicebus import Broker, DatabaseError, Topology, TopologyError

DEFAULT_CONNECTION = "ServiceBusConnection"
_EMULATOR = "usedevelopmentemulator=true"


async def open_broker(path: Path, topology: Topology) -> Broker:
    """Open the journal and listen on a free port."""
    try:
        broker = await Broker.open(path, topology)
    except DatabaseError as error:
        raise HostError(str(error)) from error
    await broker.serve()
    return broker


def topology_file(app: Path) -> Path:
    """Where an app may have a topology of its own."""
    return app / "infra" / "servicebus.json"


def read_topology(path: Path) -> Topology:
    """Read an emulator configuration; `HostError` says where it is wrong."""
    try:
        return Topology.load(path)
    except TopologyError as error:
        raise HostError(str(error)) from error


def topology_of(functions: Iterable[Function]) -> Topology:
    """A topology with a queue, of default properties, for each that a trigger names."""
    names = sorted({queue_name(function).partition("/")[0] for function in _triggered(functions)})
    config = {"Namespaces": [{"Name": "local", "Queues": [{"Name": name} for name in names]}]}
    try:
        return Topology.parse({"UserConfig": config})
    except TopologyError as error:
        raise HostError(f"the queues that the app's triggers name: {error}", code=1) from error


def queue_name(function: Function) -> str:
    """The queue, or `queue/$DeadLetterQueue`, that a Service Bus trigger listens to."""
    return str(function.properties["queueName"])


def connect(
    functions: Iterable[Function], settings: Mapping[str, str], connection_string: str
) -> dict[str, str]:
    """The settings to add, so that every trigger's connection is the local broker.

    `HostError` names a setting that points to another namespace: the triggers would not listen there.
    """
    added = {}
    for function in _triggered(functions):
        name = str(function.properties.get("connection") or "AzureWebJobsServiceBus")
        value = settings.get(name) or settings.get(f"AzureWebJobs{name}") or ""
        namespace = settings.get(f"{name}__fullyQualifiedNamespace")
        if namespace or (value and _EMULATOR not in value.lower()):
            raise HostError(
                f"function {function.name}: the setting {name} points to another Service Bus namespace;"
                " this host serves its own: unset it"
            )
        if value != connection_string:
            added[name] = connection_string
    return added


def connect_default(settings: MutableMapping[str, str], connection_string: str) -> None:
    """Let an app that reads its connection while it is loaded find the broker by the usual name."""
    value = settings.get(DEFAULT_CONNECTION, "")
    if not settings.get(f"{DEFAULT_CONNECTION}__fullyQualifiedNamespace") and (
        not value or _EMULATOR in value.lower()
    ):
        settings[DEFAULT_CONNECTION] = connection_string


def _triggered(functions: Iterable[Function]) -> list[Function]:
    return [function for function in functions if function.trigger is Trigger.BUS]
