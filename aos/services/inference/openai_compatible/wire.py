"""Between our values and the framework's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import agent_framework as af

from aos.kernel.agents.definition import Schema, ToolDefinition
from aos.services.inference.messages import Message, ModelReply, Role, ToolCall, Usage, well_formed
from aos.services.inference.openai_compatible.faults import PROVIDER, NotACompletion
from aos.services.inference.openai_compatible.strict import response_format
from aos.services.inference.tokens import output_bytes


def conversation(messages: Sequence[Message]) -> list[af.Message]:
    """Translate a conversation."""
    return [af.Message(message.role.value, list(_contents(message))) for message in messages]


def options(
    model: str, tools: Sequence[ToolDefinition], output_schema: Schema | None, max_output_tokens: int
) -> dict[str, Any]:
    """Translate what goes with it. ``max_tokens`` is sent as ``max_completion_tokens``."""
    out: dict[str, Any] = {"model": model, "max_tokens": max_output_tokens}
    if tools:
        out |= {"tools": [_declaration(tool) for tool in tools], "tool_choice": "auto"}
    if output_schema is not None:
        out["response_format"] = response_format(output_schema)
    return out


def reply(response: af.ChatResponse[Any], model: str, estimated_input: int) -> ModelReply:
    """Translate the answer; an endpoint that counts no tokens is charged by our own upper estimate.

    Raises:
        NotACompletion: it holds no choice.
    """
    if not response.messages:
        raise NotACompletion(f"{PROVIDER}: the endpoint's answer holds no choice", provider=PROVIDER)
    contents = response.messages[0].contents
    text = well_formed("".join(content.text or "" for content in contents if content.type == "text"))
    calls = _calls([content for content in contents if content.type == "function_call"])
    return ModelReply(
        text=text,
        tool_calls=calls,
        usage=_usage(response, estimated_input, text, calls),
        provider=PROVIDER,
        model=model,
        finish_reason=str(response.finish_reason or ("tool_calls" if calls else "stop")),
        served_by=response.model or None,
    )


def _contents(message: Message) -> Iterator[af.Content]:
    if message.role is Role.TOOL:
        yield af.Content.from_function_result(message.tool_call_id or "", result=message.text)
        return
    if message.text:
        yield af.Content.from_text(message.text)
    for call in message.tool_calls:
        # Malformed arguments go back as {}: some endpoints refuse a history with anything but JSON
        # in it, and the tool message that answers this call quotes what the model wrote.
        arguments = json.dumps(dict(call.arguments), ensure_ascii=False)
        yield af.Content.from_function_call(call.id, call.name, arguments=arguments)


def _declaration(tool: ToolDefinition) -> af.FunctionTool:
    """Declare a tool without a function: the framework has nothing that it could call."""
    return af.FunctionTool(
        name=tool.name, description=tool.description, func=None, input_model=dict(tool.parameters)
    )


def _calls(contents: Sequence[af.Content]) -> tuple[ToolCall, ...]:
    calls: list[ToolCall] = []
    taken: set[str] = set()
    for index, content in enumerate(contents):
        # Some compatible servers leave the id out, or give the same one to parallel calls.
        call_id = content.call_id or ""
        if not call_id or call_id in taken:
            call_id = f"{call_id or 'call'}-{index}"
        taken.add(call_id)
        calls.append(ToolCall.parse(call_id, well_formed(content.name or ""), _raw(content.arguments)))
    return tuple(calls)


def _raw(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments or {})


def _usage(
    response: af.ChatResponse[Any], estimated_input: int, text: str, calls: tuple[ToolCall, ...]
) -> Usage:
    counted = response.usage_details or {}
    return Usage(
        _count(counted.get("input_token_count"), estimated_input),
        _count(counted.get("output_token_count"), output_bytes(text, calls)),
    )


def _count(given: Any, estimate: int) -> int:
    return given if isinstance(given, int) and given >= 0 else estimate
