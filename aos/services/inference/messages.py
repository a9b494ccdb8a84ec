"""What is said between AOS and a model, as values that a journal can hold and give back exactly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NoReturn

from aos.kernel.errors import InvalidInput

EXCERPT = 200
"""How much of a malformed text an error message repeats, in characters."""


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model asks for. The service never calls it: the step loop decides."""

    id: str
    """Pairs the call with its result; unique within its reply."""
    name: str
    """As the model wrote it: it may name no tool at all."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    arguments_error: str | None = None
    """Why the arguments could not be read, to be told to the model; the call must not be made."""
    raw_arguments: str | None = None
    """What the model wrote, kept when it could not be read."""

    @classmethod
    def parse(cls, call_id: str, name: str, raw: str) -> ToolCall:
        """Read a model's call; arguments that are no JSON object are kept and marked, not refused."""
        try:
            arguments = _object(raw)
        except ValueError as error:
            told = f"the arguments of {name!r} are not a JSON object: {error}; got: {raw[:EXCERPT]}"
            return cls(call_id, name, {}, well_formed(told), well_formed(raw))
        return cls(call_id, name, arguments)

    def to_json(self) -> dict[str, Any]:
        """Return the value as JSON."""
        out: dict[str, Any] = {"id": self.id, "name": self.name, "arguments": dict(self.arguments)}
        if self.arguments_error is not None:
            out |= {"arguments_error": self.arguments_error, "raw_arguments": self.raw_arguments}
        return out

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ToolCall:
        """Read what `to_json` wrote. Raises InvalidInput for anything else."""
        try:
            error, raw = value.get("arguments_error"), value.get("raw_arguments")
            return cls(value["id"], value["name"], dict(value["arguments"]), error, raw)
        except _MISSHAPEN as fault:
            raise InvalidInput(f"not a tool call: {fault!r}") from fault


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Role
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    """Of an assistant's message: what it asked for."""
    tool_call_id: str | None = None
    """Of a tool's message: the call that it answers."""

    def to_json(self) -> dict[str, Any]:
        """Return the value as JSON."""
        out: dict[str, Any] = {"role": self.role.value, "text": self.text}
        if self.tool_calls:
            out["tool_calls"] = [call.to_json() for call in self.tool_calls]
        if self.tool_call_id is not None:
            out["tool_call_id"] = self.tool_call_id
        return out

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Message:
        """Read what `to_json` wrote. Raises InvalidInput for anything else."""
        try:
            calls = tuple(ToolCall.from_json(call) for call in value.get("tool_calls", ()))
            return cls(Role(value["role"]), value["text"], calls, value.get("tool_call_id"))
        except _MISSHAPEN as fault:
            raise InvalidInput(f"not a message: {fault!r}") from fault


@dataclass(frozen=True, slots=True)
class Usage:
    """What one reply used, as the provider counts it."""

    input_tokens: int
    output_tokens: int

    def to_json(self) -> dict[str, Any]:
        """Return the value as JSON."""
        return {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Usage:
        """Read what `to_json` wrote. Raises InvalidInput for anything else."""
        try:
            return cls(value["input_tokens"], value["output_tokens"])
        except _MISSHAPEN as fault:
            raise InvalidInput(f"not a usage: {fault!r}") from fault


@dataclass(frozen=True, slots=True)
class ModelReply:
    """One turn of a model."""

    text: str
    tool_calls: tuple[ToolCall, ...]
    usage: Usage
    provider: str
    model: str
    """The model that was asked for: the name that prices go by."""
    finish_reason: str
    """`stop`, `tool_calls`, `length`, or another word of the provider's, as `content_filter`."""
    served_by: str | None = None
    """The model that the endpoint says answered, a dated snapshot perhaps."""

    def message(self) -> Message:
        """Return the reply as the next message of its conversation."""
        return Message(Role.ASSISTANT, self.text, self.tool_calls)

    def to_json(self) -> dict[str, Any]:
        """Return the value as JSON."""
        return {
            "text": self.text,
            "tool_calls": [call.to_json() for call in self.tool_calls],
            "usage": self.usage.to_json(),
            "provider": self.provider,
            "model": self.model,
            "finish_reason": self.finish_reason,
            "served_by": self.served_by,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelReply:
        """Read what `to_json` wrote. Raises InvalidInput for anything else."""
        try:
            return cls(
                text=value["text"],
                tool_calls=tuple(ToolCall.from_json(call) for call in value["tool_calls"]),
                usage=Usage.from_json(value["usage"]),
                provider=value["provider"],
                model=value["model"],
                finish_reason=value["finish_reason"],
                served_by=value["served_by"],
            )
        except _MISSHAPEN as fault:
            raise InvalidInput(f"not a model's reply: {fault!r}") from fault


_MISSHAPEN = (KeyError, TypeError, ValueError, AttributeError)


def well_formed(text: str) -> str:
    """Replace lone surrogates, which JSON can carry from a model but no UTF-8 journal can hold."""
    return text.encode("utf-8", "replace").decode()


def read_json(text: str) -> Any:
    """Read a JSON value that can be written again as UTF-8: no NaN, no lone surrogates, no abyss.

    Raises:
        ValueError: it is none; says why.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


def _object(raw: str) -> dict[str, Any]:
    # Models write nothing at all for a tool without parameters.
    if not raw.strip():
        return {}
    value = read_json(raw)
    if not isinstance(value, dict):
        raise ValueError(f"it is a JSON {type(value).__name__}")  # noqa: TRY004 - the caller takes ValueError
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
