"""Tools' arguments as Cedar values, so that a policy can ask what an amount is.

Cedar's types are closed: a record has the attributes that the schema declares, and whoever reads one
that is optional without asking ``has`` first is refused when policies are loaded. So the type of
``context.arguments`` is made from the JSON Schemas of the registered tools. An argument that two
tools declare differently, or whose type Cedar has not, is not declared: a policy that reads it is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import Any

from aos.kernel.agents.definition import Schema, ToolDefinition
from aos.kernel.canonical import Json
from aos.kernel.errors import InvalidInput

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_PLACES = Decimal("0.0001")
_LONG = 2**63
"""Cedar's Long has 64 bits, and its decimal is a Long of ten-thousandths."""


class CedarType(StrEnum):
    """The type of an argument, as the Cedar schema writes it."""

    TEXT = "String"
    TRUTH = "Bool"
    WHOLE = "Long"
    NUMBER = "decimal"
    TEXTS = "Set<String>"


@dataclass(frozen=True, slots=True)
class ArgumentTypes:
    """The types of all tools' arguments, by name."""

    types: Mapping[str, CedarType]

    @staticmethod
    def of(tools: Iterable[ToolDefinition]) -> ArgumentTypes:
        """Read the types off the tools' JSON Schemas."""
        found: dict[str, set[CedarType | None]] = {}
        for tool in tools:
            for name, schema in tool.parameters.get("properties", {}).items():
                found.setdefault(name, set()).add(_cedar_type(schema))
        merged = {name: _merge(kinds) for name, kinds in found.items() if _NAME.fullmatch(name)}
        return ArgumentTypes({name: kind for name, kind in merged.items() if kind})

    def declaration(self) -> str:
        """Return the Cedar declaration of the type ``Arguments``."""
        fields = ", ".join(f'"{name}"?: {kind}' for name, kind in sorted(self.types.items()))
        return f"type Arguments = {{ {fields} }};\n"

    def project(self, arguments: Mapping[str, Json], names: Iterable[str]) -> dict[str, Json]:
        """Return the Cedar JSON of those of ``arguments`` that are in ``names``; null counts as absent.

        Raises:
            InvalidInput: one has not its declared type, or is too large for it.
        """
        return {
            name: _value(name, self.types[name], arguments[name])
            for name in names
            if name in self.types and arguments.get(name) is not None
        }


def _cedar_type(schema: Schema) -> CedarType | None:
    """Return the type of a property, whether or not it may also be null; None: Cedar has no such type."""
    branches = [branch for branch in schema.get("anyOf", [schema]) if branch.get("type") != "null"]
    if len(branches) != 1:
        return None
    kind = branches[0].get("type")
    if isinstance(kind, list):
        kinds = [one for one in kind if one != "null"]
        kind = kinds[0] if len(kinds) == 1 else None
    if kind == "array":
        return CedarType.TEXTS if branches[0].get("items", {}).get("type") == "string" else None
    plain = {
        "string": CedarType.TEXT,
        "boolean": CedarType.TRUTH,
        "integer": CedarType.WHOLE,
        "number": CedarType.NUMBER,
    }
    return plain.get(kind) if isinstance(kind, str) else None


def _merge(kinds: set[CedarType | None]) -> CedarType | None:
    if kinds == {CedarType.WHOLE, CedarType.NUMBER}:
        return CedarType.NUMBER
    return next(iter(kinds)) if len(kinds) == 1 else None


def _value(name: str, kind: CedarType, value: Json) -> Json:
    converted = _CONVERT[kind](value)
    if converted is None:
        raise InvalidInput(f"argument {name!r} is not a {kind} that policies can judge", argument=name)
    return converted


def _text(value: Json) -> Json:
    return value if isinstance(value, str) else None


def _truth(value: Json) -> Json:
    return value if isinstance(value, bool) else None


def _whole(value: Json) -> Json:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value) if -_LONG <= value < _LONG else None


def _number(value: Json) -> Json:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    exact = Decimal(str(value))
    if not exact.is_finite() or abs(exact) >= _LONG * _PLACES - 1:
        return None
    places = exact.quantize(_PLACES, rounding=ROUND_HALF_EVEN)
    return {"__extn": {"fn": "decimal", "arg": f"{places:f}"}}


def _texts(value: Json) -> Json:
    return value if isinstance(value, list) and all(isinstance(one, str) for one in value) else None


_CONVERT: Mapping[CedarType, Callable[[Any], Json]] = {
    CedarType.TEXT: _text,
    CedarType.TRUTH: _truth,
    CedarType.WHOLE: _whole,
    CedarType.NUMBER: _number,
    CedarType.TEXTS: _texts,
}
