"""The functions of Bicep that our templates call, and what a template refuses or does not know yet."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Mapping
from typing import Any


class Refused(Exception):
    """The template itself refuses its parameters, by ``fail``."""


class Unresolved(str):
    """What is known at deployment only, named by where it comes from."""

    def __repr__(self) -> str:
        return f"<{self}>"

    def __getitem__(self, key: Any) -> Unresolved:
        return Unresolved(f"{self}[{key}]")

    def get(self, key: Any) -> Unresolved:
        return Unresolved(f"{self}.{key}")


def _union(*values: Mapping[str, Any] | list[Any]) -> Any:
    if isinstance(values[0], list):
        return list(dict.fromkeys(item for value in values for item in value))
    merged: dict[str, Any] = {}
    for value in values:
        for key, item in value.items():
            both = isinstance(item, dict) and isinstance(merged.get(key), dict)
            merged[key] = _union(merged[key], item) if both else item
    return merged


def _unique(*parts: str) -> str:
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:13]


def _fail(message: str) -> None:
    raise Refused(message)


def _split(text: str, separator: str) -> Any:
    return Unresolved(f"split({text})") if isinstance(text, Unresolved) else text.split(separator)


def _subnet(prefix: str, size: int, index: int) -> str:
    return str(list(ipaddress.ip_network(prefix).subnets(new_prefix=size))[index])


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "cidrSubnet": _subnet,
    "concat": lambda *lists: [item for list_ in lists for item in list_],
    "empty": lambda value: not isinstance(value, Unresolved) and not value,
    "environment": lambda: {
        "suffixes": {"storage": "core.windows.net"},
        "authentication": {"loginEndpoint": "https://login.microsoftonline.com/"},
    },
    "fail": _fail,
    "guid": lambda *parts: f"guid({', '.join(map(str, parts))})",
    "items": lambda value: [{"key": key, "value": item} for key, item in sorted(value.items())],
    "last": lambda values: values[-1],
    "length": len,
    "map": lambda values, function: [function(value) for value in values],
    "range": lambda start, count: list(range(start, start + count)),
    "replace": lambda text, old, new: text.replace(old, new),
    "resourceGroup": lambda *parts: Unresolved(f"resourceGroup({', '.join(parts)})"),
    "resourceId": lambda *parts: "/".join(map(str, parts)),
    "split": _split,
    "subscription": lambda: {"id": "/subscriptions/of-the-test", "subscriptionId": "of-the-test"},
    "subscriptionResourceId": lambda *parts: "/".join(parts),
    "tenant": lambda: {"tenantId": "00000000-0000-0000-0000-000000000000"},
    "toLower": str.lower,
    "toObject": lambda values, key, value: {key(item): value(item) for item in values},
    "union": _union,
    "uniqueString": _unique,
}
