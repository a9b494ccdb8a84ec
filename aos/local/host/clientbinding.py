"""What the durable client binding gives to functions: where the hub is, and the links to hand out."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from aos.local.host.durablejson import DurableSettings
from aos.local.host.errors import AppError
from aos.local.host.functions import Function
from aos.local.host.keys import DURABLE_KEY, KeyRing
from aos.local.host.management import Links

_CONNECTION = "Storage"
_ANY_INSTANCE = "INSTANCEID"  # replaced by the SDK


def management_links(settings: DurableSettings, origin: str, ring: KeyRing | None) -> Links:
    """The links of the management API; with the system key when there are keys, as in Azure."""
    query = f"taskHub={settings.hub_name}&connection={_CONNECTION}"
    code = f"&code={quote(ring.system[DURABLE_KEY])}" if ring is not None else ""
    return Links(origin, query + code, settings.use_forwarded_host)


def refuse_other_hubs(functions: Iterable[Function], hub_name: str) -> None:
    """`AppError` names the first durable client that wants another hub than that of host.json."""
    for function in functions:
        for binding in function.bindings:
            named = binding.get("taskHub")
            is_client = str(binding.get("type")).lower() == "durableclient"
            if is_client and named and str(named).lower() != hub_name.lower() and not function.disabled:
                raise AppError(
                    f"function {function.name}: its durable client {binding.get('name')!r} is of the task hub"
                    f" {named!r}, and this host serves that of host.json alone, {hub_name!r}"
                )


def client_configuration(settings: DurableSettings, links: Links, rpc_port: int) -> dict[str, Any]:
    """The binding's data."""
    return {
        "taskHubName": settings.hub_name,
        "connectionName": _CONNECTION,
        "creationUrls": links.of_creation(),
        "managementUrls": links.of_instance(_ANY_INSTANCE),
        "baseUrl": links.base,
        "httpBaseUrl": links.base,
        "requiredQueryStringParameters": links.query,
        "useForwardedHost": settings.use_forwarded_host,
        "rpcBaseUrl": f"http://127.0.0.1:{rpc_port}",
        "maxGrpcMessageSizeInBytes": settings.max_message_bytes,
    }
