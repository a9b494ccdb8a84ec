"""What a conversation has said so far, as the mock reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aos.kernel.agents.definition import ToolDefinition
from aos.services.inference.messages import Message, Role, ToolCall
from aos.services.inference.mock.search import first_fit, named, parse, part, task_input

_LONGEST = 80
"""How much of one value a report repeats, in characters."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool returned."""

    tool: str
    value: Any
    error: str | None = None

    @classmethod
    def read(cls, tool: str, text: str) -> ToolResult:
        """Read a tool's message: JSON, whose "error" if it has one says that the call failed."""
        is_json, value = parse(text)
        if isinstance(value, dict):
            error = value.get("error")
            return cls(tool, value, None if error is None else _short(error))
        # A bare value is found under its tool's name.
        return cls(tool, {tool: value if is_json else text})

    def report(self) -> str:
        """Say what was returned in one clause."""
        if self.error is not None:
            return f"{self.tool} failed: {self.error}"
        if not self.value:
            return f"{self.tool} reported nothing"
        facts = ", ".join(f"{name}={_short(value)}" for name, value in self.value.items())
        return f"{self.tool} reported {facts}"


@dataclass(frozen=True, slots=True)
class Transcript:
    """A conversation, read."""

    input: Any
    turn: int
    called: frozenset[str]
    results: tuple[ToolResult, ...]

    @classmethod
    def read(cls, messages: Sequence[Message]) -> Transcript:
        """Read a conversation; the input is in the last user's message that holds JSON."""
        tools = {call.id: call.name for message in messages for call in message.tool_calls}
        return cls(
            input=_input(messages),
            turn=sum(message.role is Role.ASSISTANT for message in messages),
            called=frozenset(tools.values()),
            results=tuple(
                ToolResult.read(tools.get(message.tool_call_id or "", "tool"), message.text)
                for message in messages
                if message.role is Role.TOOL
            ),
        )

    def reported(self, name: str) -> Iterator[Any]:
        """Yield the values of that name that tools returned, the latest tool's first."""
        for result in reversed(self.results):
            if result.error is None:
                yield from named(result.value, name)

    def given(self, name: str) -> Iterator[Any]:
        """Yield the values of that name in the task's input, the least deep first."""
        return named(self.input, name)

    def arguments(self, tool: ToolDefinition) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the arguments that can be found for a tool, and the required ones that cannot."""
        found: dict[str, Any] = {}
        required = tool.parameters.get("required", ())
        for name in dict.fromkeys((*tool.parameters.get("properties", {}), *required)):
            candidates = (*self.given(name), *self.reported(name))
            fits, value = first_fit(candidates, part(tool.parameters, name))
            if fits:
                found[name] = value
        return found, tuple(name for name in required if name not in found)

    def next_calls(self, tools: Sequence[ToolDefinition]) -> tuple[ToolCall, ...]:
        """Return a call of every tool that has not been called and whose arguments are all there."""
        calls: list[ToolCall] = []
        for tool in tools:
            arguments, missing = self.arguments(tool)
            if tool.name not in self.called and not missing:
                calls.append(ToolCall(f"mock-{self.turn}-{len(calls)}", tool.name, arguments))
        return tuple(calls)

    def report(self, tools: Sequence[ToolDefinition]) -> str:
        """Say what happened, in one sentence that names the mock."""
        clauses = [result.report() for result in self.results]
        clauses += [
            f"{tool.name} was not called, nothing in the input is its {', '.join(self.arguments(tool)[1])}"
            for tool in tools
            if tool.name not in self.called
        ]
        if not self.results:
            clauses.append(f"the input was {_short(self.input)}")
        return "mock: no reasoning was done; " + "; ".join(clauses)


def _input(messages: Sequence[Message]) -> Any:
    said = [message.text for message in messages if message.role is Role.USER]
    for text in reversed(said):
        found, value = task_input(text)
        if found:
            return value
    return said[-1] if said else None


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
