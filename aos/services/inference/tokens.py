"""How many bytes a conversation puts before a model: what token counts are estimated from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from aos.kernel.agents.definition import Schema, ToolDefinition
from aos.services.inference.messages import Message, ToolCall


def tokens_for(size: int, bytes_per_token: int) -> int:
    """Return the tokens of so many bytes, rounded up."""
    return -(-size // bytes_per_token)


def input_bytes(
    messages: Sequence[Message], tools: Sequence[ToolDefinition], output_schema: Schema | None
) -> int:
    """Count the UTF-8 bytes of all that a model reads, without the framing of any provider."""
    size = sum(_bytes(message.text) + call_bytes(message.tool_calls) for message in messages)
    size += sum(
        _bytes(tool.name) + _bytes(tool.description) + _bytes(_json(tool.parameters)) for tool in tools
    )
    return size + (0 if output_schema is None else _bytes(_json(output_schema)))


def call_bytes(calls: Iterable[ToolCall]) -> int:
    """Count the UTF-8 bytes of tool calls as a model writes them."""
    return sum(_bytes(call.name) + _bytes(call.raw_arguments or _json(call.arguments)) for call in calls)


def output_bytes(text: str, calls: Iterable[ToolCall]) -> int:
    """Count the UTF-8 bytes of a reply."""
    return _bytes(text) + call_bytes(calls)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _bytes(text: str) -> int:
    return len(text.encode())
