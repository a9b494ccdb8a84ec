"""Which output schemas an endpoint is asked to enforce, and which it only hears of."""

from __future__ import annotations

from typing import Any

import pytest

from aos.services.inference.openai_compatible.strict import response_format

TEXT = {"type": "string"}


def strict(schema: dict[str, Any]) -> bool:
    enforced: bool = response_format(schema)["json_schema"]["strict"]
    return enforced


def test_objects_are_closed_all_the_way_down() -> None:
    inner = {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}
    schema = {
        "type": "object",
        "properties": {"list": {"type": "array", "items": inner}, "one": {"$ref": "#/$defs/Inner"}},
        "required": ["list", "one"],
        "$defs": {"Inner": {"anyOf": [inner, {"type": "null"}]}},
    }
    sent = response_format(schema)["json_schema"]["schema"]
    assert sent["additionalProperties"] is False
    assert sent["properties"]["list"]["items"]["additionalProperties"] is False
    assert sent["$defs"]["Inner"]["anyOf"][0]["additionalProperties"] is False
    assert strict(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": TEXT}},
        {"type": "object", "properties": {"a": TEXT}, "required": ["a"], "additionalProperties": True},
        {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"oneOf": [TEXT]}}, "required": ["a"]},
        {"type": "array", "items": TEXT},
        {"anyOf": [TEXT]},
    ],
)
def test_a_schema_beyond_the_enforceable_subset_is_sent_unchanged_as_a_hint(schema: dict[str, Any]) -> None:
    sent = response_format(schema)["json_schema"]
    assert sent["strict"] is False
    assert sent["schema"] == schema


def test_the_schema_of_the_caller_is_left_as_it_was() -> None:
    schema = {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}
    response_format(schema)
    assert schema == {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}
