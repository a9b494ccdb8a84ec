"""The Service Bus namespace of the app: its topology, and the settings by which functions find it."""

from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path

from aos.local.host.busentities import bus_bindings
from aos.local.host.errors import HostError
from aos.local.host.functions import Function
from aos.local.servicebus import Broker, DatabaseError, Topology, TopologyError

DEFAULT_CONNECTION = "ServiceBusConnection"
_EMULATOR = "usedevelopmentemulator=true"
_NAMESPACE = "__fullyQualifiedNamespace"


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


def connect(
    functions: Iterable[Function], settings: Mapping[str, str], connection_string: str
) -> dict[str, str]:
    """The settings to add, so that the connection of every trigger and output is the local broker.

    `HostError` names a setting that points to another namespace: nothing would be received from there.
    """
    added = {}
    for function, binding in bus_bindings(functions):
        name = str(binding.get("connection") or "AzureWebJobsServiceBus")
        foreign = _foreign(name, settings)
        if foreign is not None:
            raise HostError(
                f"function {function.name}, binding {binding.get('name')!r}: the setting {foreign} points to"
                " another Service Bus namespace; this host serves its own: unset it, or set"
                f" {foreign.removesuffix(_NAMESPACE)} to UseDevelopmentEmulator=true"
            )
        if settings.get(name) != connection_string:
            added[name] = connection_string
    return added


def _foreign(name: str, settings: Mapping[str, str]) -> str | None:
    """The setting by which a connection leads to a namespace in the cloud, by key or by identity.

    As in Azure the name with a prefix comes first, and a connection string before an identity.
    """
    for prefix in ("AzureWebJobs", ""):
        value = settings.get(f"{prefix}{name}", "")
        if value:
            return None if _EMULATOR in value.lower() else f"{prefix}{name}"
        identity = f"{prefix}{name}{_NAMESPACE}"
        if settings.get(identity):
            return identity
    return None


def connect_default(settings: MutableMapping[str, str], connection_string: str) -> None:
    """Let an app that reads its connection while it is loaded find the broker by the usual name."""
    if _foreign(DEFAULT_CONNECTION, settings) is None:
        settings[DEFAULT_CONNECTION] = connection_string
