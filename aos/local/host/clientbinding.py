"""What the durable client binding gives to functions: where the hub is, and the links to hand out."""

from typing import Any
from urllib.parse import quote

from aos.local.host.durablejson import DurableSettings
from aos.local.host.keys import DURABLE_KEY, KeyRing
from aos.local.host.management import Links

_CONNECTION = "Storage"
_ANY_INSTANCE = "INSTANCEID"  # replaced by the SDK


def management_links(settings: DurableSettings, origin: str, ring: KeyRing | None) -> Links:
    """The links of the management API; with the system key when there are keys, as in Azure."""
    query = f"taskHub={settings.hub_name}&connection={_CONNECTION}"
    code = f"&code={quote(ring.system[DURABLE_KEY])}" if ring is not None else ""
    return Links(origin, query + code, settings.use_forwarded_host)


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
