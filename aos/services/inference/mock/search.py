"""Finding values by name in JSON."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from jsonschema import Draft202012Validator

from aos.kernel.agents.definition import Schema
from aos.services.inference.messages import read_json

_JSON_BLOCK = re.compile(r"^[ ]*```json[^\n]*\n(.*?)\n[ ]*```", re.DOTALL | re.MULTILINE)
"""The closing fence begins a line, which nothing inside a JSON string can."""


def named(value: Any, name: str) -> Iterator[Any]:
    """Yield every value of that name in a JSON value, the least deep first."""
    level = deque([value])
    while level:
        node = level.popleft()
        if isinstance(node, dict):
            if name in node:
                yield node[name]
            level.extend(node.values())
        elif isinstance(node, list):
            level.extend(node)


def first_fit(candidates: Iterable[Any], schema: Schema) -> tuple[bool, Any]:
    """Return whether a candidate fits the schema, and the first that does."""
    validator = Draft202012Validator(schema)
    for candidate in candidates:
        if validator.is_valid(candidate):
            return True, candidate
    return False, None


def part(schema: Schema, name: str) -> dict[str, Any]:
    """Return the schema of a property, with the definitions that it may refer to."""
    found = schema.get("properties", {}).get(name, {})
    definitions = {"$defs": schema["$defs"]} if "$defs" in schema else {}
    return {**definitions, **found} if isinstance(found, dict) else definitions


def task_input(text: str) -> tuple[bool, Any]:
    """Return whether a message holds JSON, and it: the last block marked as such, or the whole text."""
    for candidate in (*reversed(_JSON_BLOCK.findall(text)), text):
        found, value = parse(candidate)
        if found:
            return True, value
    return False, None


def parse(text: str) -> tuple[bool, Any]:
    """Return whether a text is JSON, and its value."""
    try:
        return True, read_json(text)
    except ValueError:
        return False, None
