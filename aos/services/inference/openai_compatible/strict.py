"""The subset of JSON Schema that structured output can enforce, token by token.

https://platform.openai.com/docs/guides/structured-outputs (supported schemas): every object closed,
every property required, and only some keywords. A schema outside of it is sent as a hint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aos.kernel.agents.definition import Schema

_SHAPES = frozenset({"type", "anyOf", "$ref", "enum", "const"})
_NOTES = frozenset({"title", "description", "$defs"})
_OBJECTS = frozenset({"properties", "required", "additionalProperties"})
_NUMBERS = frozenset({"multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_OTHERS = frozenset({"items", "minItems", "maxItems", "pattern", "format"})
_KEYWORDS = _SHAPES | _NOTES | _OBJECTS | _NUMBERS | _OTHERS


def response_format(schema: Schema) -> dict[str, Any]:
    """Return the request's ``response_format`` for an output schema."""
    closed = _closed(schema)
    strict = closed.get("type") == "object" and _is_strict(closed)
    sent = closed if strict else dict(schema)
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": sent, "strict": strict}}


def _closed(schema: Schema) -> dict[str, Any]:
    """Close every object that says nothing of further properties: what then fits also fitted before."""
    out = {key: _closed_part(key, value) for key, value in schema.items()}
    if "properties" in out:
        out.setdefault("additionalProperties", False)
    return out


def _closed_part(key: str, value: Any) -> Any:
    if key in ("properties", "$defs") and isinstance(value, Mapping):
        return {name: _closed(part) if isinstance(part, Mapping) else part for name, part in value.items()}
    if key == "items" and isinstance(value, Mapping):
        return _closed(value)
    if key == "anyOf" and isinstance(value, list):
        return [_closed(part) if isinstance(part, Mapping) else part for part in value]
    return value


def _is_strict(schema: Any) -> bool:
    if not isinstance(schema, Mapping) or not _KEYWORDS.issuperset(schema) or _SHAPES.isdisjoint(schema):
        return False
    if schema.get("type") == "object" and (
        schema.get("additionalProperties") is not False
        or set(schema.get("required", ())) != set(schema.get("properties", {}))
    ):
        return False
    return all(_is_strict(part) for part in _parts(schema))


def _parts(schema: Schema) -> Iterator[Any]:
    yield from schema.get("properties", {}).values()
    yield from schema.get("$defs", {}).values()
    yield from schema.get("anyOf", ())
    if "items" in schema:
        yield schema["items"]
