"""Filling an output schema with what is known, and with nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator

from aos.kernel.agents.definition import Schema
from aos.services.inference.mock.search import first_fit, part
from aos.services.inference.mock.transcript import Transcript

_PROSE = (
    "rationale",
    "summary",
    "reason",
    "explanation",
    "justification",
    "comment",
    "narrative",
    "analysis",
)
"""A text property with one of these in its name asks for words, and gets what the tools reported."""


class Unfillable(Exception):
    """A required property has no source."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


@dataclass(frozen=True, slots=True)
class Answer:
    """Fills schemas from one conversation."""

    transcript: Transcript
    sentence: str

    def fill(self, schema: Schema, path: str = "") -> dict[str, Any]:
        """Return an object that fits the schema.

        Raises:
            Unfillable: a required property has no source, or the whole does not fit.
        """
        schema = _resolved(schema)
        required = schema.get("required", ())
        out: dict[str, Any] = {}
        for name in dict.fromkeys((*schema.get("properties", {}), *required)):
            try:
                out[name] = self._property(name, part(schema, name), f"{path}{name}", name in required)
            except Unfillable:
                if name in required:
                    raise
        if not Draft202012Validator(schema).is_valid(out):
            raise Unfillable(path.rstrip(".") or "the whole object")
        return out

    def _property(self, name: str, schema: dict[str, Any], path: str, required: bool) -> Any:
        fits, value = first_fit(self._candidates(name, schema, required), schema)
        if fits:
            return value
        if "properties" in _resolved(schema):
            return self.fill(schema, f"{path}.")
        raise Unfillable(path)

    def _candidates(self, name: str, schema: Mapping[str, Any], required: bool) -> Iterator[Any]:
        sentence = self.sentence[: schema.get("maxLength")]
        if any(word in name.lower() for word in _PROSE):
            yield sentence
        yield from self.transcript.reported(name)
        yield from self.transcript.given(name)
        yield from (schema[word] for word in ("const", "default") if word in schema)
        if required:
            yield None
            yield sentence


def _resolved(schema: Schema) -> Schema:
    reference = schema.get("$ref", "")
    target = schema.get("$defs", {}).get(reference.removeprefix("#/$defs/"))
    return schema if target is None else {"$defs": schema["$defs"], **target}
