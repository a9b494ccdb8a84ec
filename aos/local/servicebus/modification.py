"""Properties to modify: application properties that a receiver changes while settling a message."""

import uuid
from typing import Any

from aos.local.servicebus.amqp_types import Described
from aos.local.servicebus.errors import InvalidFieldError

_SIMPLE = (bool, int, float, str, bytes, uuid.UUID)
_LONGS = range(-(2**63), 2**63)


def properties_to_modify(value: Any) -> dict[str, Any]:
    """The changes in a settlement's map (None is no change). Raises InvalidFieldError."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidFieldError("the properties to modify must be a map")
    for key, item in value.items():
        if not isinstance(key, str):
            raise InvalidFieldError(f"the properties to modify have the key {key!r}, which is no string")
        if not _simple(item.value if isinstance(item, Described) else item):
            raise InvalidFieldError(f"the property to modify {str(key)!r} has no simple value")
    return {str(key): item for key, item in value.items()}


def _simple(value: Any) -> bool:
    if isinstance(value, int):
        return value in _LONGS
    return value is None or isinstance(value, _SIMPLE)
