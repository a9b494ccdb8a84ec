"""The mock as a `ModelClient`.

It implements the port itself: a framework's chat client would add only translation there and back,
and its import, to what is a pure function of the conversation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from opentelemetry.trace import SpanKind

from aos.kernel.agents.definition import Schema, ToolDefinition
from aos.services.inference.messages import Message, ModelReply, ToolCall, Usage
from aos.services.inference.mock.answer import Answer, Unfillable
from aos.services.inference.mock.transcript import Transcript
from aos.services.inference.ports import ModelTruncated
from aos.services.inference.tokens import input_bytes, output_bytes, tokens_for
from aos.services.observability.tracing import Attributes, span

MOCK = "mock"

BYTES_PER_TOKEN = 4
"""The mock's token is four bytes of UTF-8, begun ones counted, going in and coming out."""


class MockModelClient:
    """Answers from the conversation alone: equal conversations get equal replies.

    Every declared tool is called once, as soon as its required arguments are found by name and
    type in the task's input or in earlier results; then the answer is filled the same way.
    """

    provider = MOCK
    default_model = MOCK

    def model_for(self, model: str | None) -> str:
        """Return `mock`, whatever is asked for: no other model answers here."""
        return MOCK

    async def complete(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolDefinition],
        *,
        model: str | None,
        output_schema: Schema | None,
        max_output_tokens: int,
        timeout_s: float,
    ) -> ModelReply:
        """Give the next message; see `ModelClient.complete`."""
        attributes: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": MOCK,
            "gen_ai.request.model": MOCK,
            "gen_ai.request.max_tokens": max_output_tokens,
        }
        with span(f"chat {MOCK}", attributes, kind=SpanKind.CLIENT) as current:
            reply = self._next(messages, tools, output_schema, max_output_tokens)
            current.set_attribute("gen_ai.response.model", MOCK)
            current.set_attribute("gen_ai.usage.input_tokens", reply.usage.input_tokens)
            current.set_attribute("gen_ai.usage.output_tokens", reply.usage.output_tokens)
            return reply

    def _next(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolDefinition],
        output_schema: Schema | None,
        max_output_tokens: int,
    ) -> ModelReply:
        transcript = Transcript.read(messages)
        calls = transcript.next_calls(tools)
        text = "" if calls else _answer(transcript, tools, output_schema)
        used = tokens_for(output_bytes(text, calls), BYTES_PER_TOKEN)
        reads = self.count_tokens(messages, tools, output_schema)
        if used > max_output_tokens:
            cut = text.encode()[: max_output_tokens * BYTES_PER_TOKEN].decode(errors="ignore")
            raise ModelTruncated(
                _reply(cut, (), Usage(reads, max_output_tokens), "length"), max_output_tokens
            )
        return _reply(text, calls, Usage(reads, used), "tool_calls" if calls else "stop")

    def count_tokens(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolDefinition],
        output_schema: Schema | None = None,
    ) -> int:
        """Count exactly what `complete` will report."""
        return tokens_for(input_bytes(messages, tools, output_schema), BYTES_PER_TOKEN)

    async def close(self) -> None:
        """Do nothing: there is no connection."""


def _answer(transcript: Transcript, tools: Sequence[ToolDefinition], output_schema: Schema | None) -> str:
    sentence = transcript.report(tools)
    if output_schema is None:
        return sentence
    try:
        return json.dumps(Answer(transcript, sentence).fill(output_schema), ensure_ascii=False)
    except Unfillable as missing:
        return f"{sentence}; nothing in the results or the input fits the output's {missing.path}"


def _reply(text: str, calls: tuple[ToolCall, ...], usage: Usage, finish_reason: str) -> ModelReply:
    return ModelReply(text, calls, usage, MOCK, MOCK, finish_reason, served_by=MOCK)
