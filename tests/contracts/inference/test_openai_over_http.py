"""The `openai` provider, over real HTTP, against an endpoint that misbehaves in every known way."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import traceback
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from chat_completions_endpoint import Endpoint, MovedClock, Scripted, call, completion, failure
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from aos.kernel.agents.definition import Schema, ToolDefinition
from aos.services.inference import Message, ModelRejected, ModelReply, ModelTruncated, ModelUnavailable, Role
from aos.services.inference.messages import ToolCall
from aos.services.inference.openai_compatible.client import OpenAICompatibleClient
from aos.services.inference.openai_compatible.keys import FixedKey

KEY = "sk-secret-key-0123456789"
ASK = [Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "What is the NPV?")]
NPV = ToolDefinition(
    "npv",
    "Net present value.",
    {"type": "object", "properties": {"rate": {"type": "number", "title": "Rate"}}, "required": ["rate"]},
)


@pytest.fixture
async def client(endpoint: Endpoint, clock: MovedClock) -> AsyncIterator[OpenAICompatibleClient]:
    client = make_client(endpoint.url, clock)
    yield client
    await client.close()


def make_client(base_url: str, clock: MovedClock, **more: Any) -> OpenAICompatibleClient:
    return OpenAICompatibleClient(
        model="gpt-4o",
        keys=FixedKey(KEY),
        base_url=base_url,
        clock=clock,
        sleep=clock.sleep,
        jitter=lambda: 1.0,
        **more,
    )


async def ask(
    client: OpenAICompatibleClient,
    messages: Sequence[Message] = ASK,
    tools: Sequence[ToolDefinition] = (),
    *,
    model: str | None = None,
    output_schema: Schema | None = None,
    timeout_s: float = 60.0,
) -> ModelReply:
    return await client.complete(
        messages,
        tools,
        model=model,
        output_schema=output_schema,
        max_output_tokens=256,
        timeout_s=timeout_s,
    )


async def test_a_plain_answer_comes_with_its_usage_and_the_model_that_served_it(
    endpoint: Endpoint, client: OpenAICompatibleClient
) -> None:
    endpoint.script = [completion("It is 12.", usage=(31, 5))]
    reply = await ask(client)
    assert (reply.text, reply.tool_calls, reply.finish_reason) == ("It is 12.", (), "stop")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (31, 5)
    assert (reply.provider, reply.model, reply.served_by) == ("openai", "gpt-4o", "gpt-4o-2024-08-06")


async def test_the_request_holds_the_conversation_the_limit_and_the_key_and_no_tools(
    endpoint: Endpoint, client: OpenAICompatibleClient
) -> None:
    endpoint.script = [completion("ok")]
    await ask(client, model="gpt-5")
    seen = endpoint.seen[0]
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["Authorization"] == f"Bearer {KEY}"
    assert seen.body == {
        "model": "gpt-5",
        "max_completion_tokens": 256,
        "stream": False,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is the NPV?"},
        ],
    }


async def test_a_tool_is_declared_with_its_own_schema_and_its_call_returned_uncalled(
    endpoint: Endpoint, client: OpenAICompatibleClient
) -> None:
    endpoint.script = [completion(None, [call("npv", '{"rate": 0.1}')])]
    reply = await ask(client, tools=[NPV])
    assert reply.tool_calls == (ToolCall("call_1", "npv", {"rate": 0.1}),)
    assert reply.finish_reason == "tool_calls"
    assert len(endpoint.seen) == 1
    assert endpoint.seen[0].body["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "npv",
                "description": "Net present value.",
                "parameters": dict(NPV.parameters),
            },
        }
    ]


async def test_parallel_calls_keep_their_order_and_get_distinct_ids(
    endpoint: Endpoint, client: OpenAICompatibleClient
) -> None:
    calls = [call("npv", '{"rate": 1}', "a"), call("npv", '{"rate": 2}', "a"), call("npv", "{}", "")]
    endpoint.script = [completion("Both.", calls)]
    reply = await ask(client, tools=[NPV])
    assert [c.arguments for c in reply.tool_calls] == [{"rate": 1}, {"rate": 2}, {}]
    assert [c.id for c in reply.tool_calls] == ["a", "a-1", "call-2"]
    assert reply.text == "Both."


async def test_a_conversation_with_tool_results_is_sent_in_the_form_of_the_api(
    endpoint: Endpoint, client: OpenAICompatibleClient
) -> None:
    endpoint.script = [completion("It is 12.")]
    calls = (ToolCall("c1", "npv", {"rate": 0.1}), ToolCall.parse("c2", "npv", "{rate"))
    history = [
        *ASK,
        Message(Role.ASSISTANT, "Let me see.", calls),
        Message(Role.TOOL, '{"npv_usd": 12}', tool_call_id="c1"),
        Message(Role.TOOL, '{"error": "not JSON"}', tool_call_id="c2"),
    ]
    await ask(client, history, [NPV])
    assistant, first, second = endpoint.seen[0].body["messages"][2:]
    assert (assistant["role"], assistant["content"]) == ("assistant", "Let me see.")
    assert [(c["id"], json.loads(c["function"]["arguments"])) for c in assistant["tool_calls"]] == [
        ("c1", {"rate": 0.1}),
        ("c2", {}),
    ]
    assert first == {"role": "tool", "tool_call_id": "c1", "content": '{"npv_usd": 12}'}
    assert second["tool_call_id"] == "c2"


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ('{"rate": ', "Expecting value"),
        ("[1]", "JSON list"),
        ('{"rate": NaN}', "NaN is not JSON"),
        ('{"rate": "\\ud800"}', "surrogates"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
async def test_malformed_arguments_are_kept_and_marked(
    endpoint: Endpoint, client: OpenAICompatibleClient, raw: str, why: str
) -> None:
    endpoint.script = [completion(None, [call("npv", raw)])]
    (made,) = (await ask(client, tools=[NPV])).tool_calls
    assert made.arguments == {}
    assert made.raw_arguments == raw
    assert made.arguments_error is not None
    assert why in made.arguments_error


async def test_an_output_schema_asks_for_structured_output(
    endpoint: Endpoint, client: OpenAICompatibleClient
) -> None:
    endpoint.script = [completion('{"decision": "go"}')]
    schema = {"type": "object", "properties": {"decision": {"type": "string"}}, "required": ["decision"]}
    reply = await ask(client, output_schema=schema)
    assert reply.text == '{"decision": "go"}'
    assert endpoint.seen[0].body["response_format"] == {
        "type": "json_schema",
        "json_schema": {
            "name": "output",
            "schema": {**schema, "additionalProperties": False},
            "strict": True,
        },
    }


async def test_an_endpoint_that_counts_no_tokens_is_charged_from_above(
    endpoint: Endpoint, client: OpenAICompatibleClient
) -> None:
    endpoint.script = [completion("twelve", usage=None)]
    usage = (await ask(client)).usage
    assert usage.input_tokens == client.count_tokens(ASK, ())
    assert usage.output_tokens == len("twelve")


@pytest.mark.parametrize("bad", [None, -5, "many"])
async def test_a_count_that_is_none_is_charged_from_above_too(
    endpoint: Endpoint, client: OpenAICompatibleClient, bad: Any
) -> None:
    answer = completion("twelve")
    answer.body["usage"] = {"prompt_tokens": bad, "completion_tokens": bad, "total_tokens": bad}
    endpoint.script = [answer]
    usage = (await ask(client)).usage
    assert (usage.input_tokens, usage.output_tokens) == (client.count_tokens(ASK, ()), len("twelve"))


async def test_a_refusal_of_the_model_is_its_text(endpoint: Endpoint, client: OpenAICompatibleClient) -> None:
    answer = completion(None)
    answer.body["choices"][0]["message"]["refusal"] = "I cannot help with that."
    endpoint.script = [answer]
    assert (await ask(client)).text == "I cannot help with that."


async def test_lone_surrogates_in_a_text_do_not_reach_the_journal(
    endpoint: Endpoint, client: OpenAICompatibleClient
) -> None:
    endpoint.script = [completion("a\ud800b")]
    assert (await ask(client)).text == "a?b"


async def test_429_is_asked_again_after_the_pause_that_it_names(
    endpoint: Endpoint, client: OpenAICompatibleClient, clock: MovedClock
) -> None:
    endpoint.script = [failure(429, "slow down", retry_after="7"), completion("ok")]
    assert (await ask(client)).text == "ok"
    assert clock.pauses == [7.0]


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:09 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 9.0),
        ({"Retry-After": "soon"}, 0.5),
        ({"Retry-After": "-3"}, 0.5),
        ({"Retry-After": "nan"}, 0.5),
        ({"Retry-After": "0"}, 0.5),
    ],
)
async def test_every_form_of_retry_after_is_read_and_never_undercuts_the_backoff(
    endpoint: Endpoint,
    client: OpenAICompatibleClient,
    clock: MovedClock,
    headers: dict[str, str],
    pause: float,
) -> None:
    endpoint.script = [Scripted({"error": {"message": "later"}}, 429, headers), completion("ok")]
    assert (await ask(client)).text == "ok"
    assert clock.pauses == [pause]


async def test_429_forever_gives_up_within_the_timeout(
    endpoint: Endpoint, client: OpenAICompatibleClient, clock: MovedClock
) -> None:
    endpoint.script = [failure(429, "slow down", retry_after="7")]
    with pytest.raises(ModelUnavailable, match="HTTP 429: slow down") as caught:
        await ask(client, timeout_s=30)
    assert caught.value.retry_after_s == 7.0
    assert clock.pauses == [7.0] * 4
    assert clock.now <= 1030


async def test_a_pause_longer_than_the_timeout_is_the_callers_to_wait(
    endpoint: Endpoint, client: OpenAICompatibleClient, clock: MovedClock
) -> None:
    endpoint.script = [failure(429, "slow down", retry_after="120")]
    with pytest.raises(ModelUnavailable) as caught:
        await ask(client, timeout_s=30)
    assert (caught.value.retry_after_s, clock.pauses, len(endpoint.seen)) == (120.0, [], 1)


async def test_server_errors_are_retried_with_growing_pauses_up_to_a_cap(
    endpoint: Endpoint, client: OpenAICompatibleClient, clock: MovedClock
) -> None:
    endpoint.script = [failure(503, "overloaded") for _ in range(8)] + [completion("ok")]
    assert (await ask(client, timeout_s=300)).text == "ok"
    assert clock.pauses == [0.5, 1, 2, 4, 8, 16, 20, 20]


async def test_a_500_that_stays_is_unavailable(endpoint: Endpoint, client: OpenAICompatibleClient) -> None:
    endpoint.script = [Scripted("<html>oops</html>", 500, content_type="text/html")]
    with pytest.raises(ModelUnavailable, match=r"HTTP 500: .*oops") as caught:
        await ask(client, timeout_s=5)
    assert caught.value.retry_after_s is None
    assert caught.value.code == "model_unavailable"


async def test_a_dropped_connection_is_retried(endpoint: Endpoint, client: OpenAICompatibleClient) -> None:
    endpoint.script = [Scripted("", drop=True), completion("ok")]
    assert (await ask(client)).text == "ok"
    assert len(endpoint.seen) == 2


async def test_a_refused_connection_is_unavailable(clock: MovedClock) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        client = make_client(f"http://127.0.0.1:{reserved.getsockname()[1]}/v1", clock)
        with pytest.raises(ModelUnavailable, match=r"no connection to 127.0.0.1:\d+"):
            await ask(client, timeout_s=3)
    await client.close()
    assert clock.pauses == [0.5, 1.0]


async def test_an_endpoint_that_hangs_is_left_when_the_time_is_over(
    endpoint: Endpoint, client: OpenAICompatibleClient
) -> None:
    endpoint.script = [Scripted("", hang=True)]
    with pytest.raises(ModelUnavailable, match="no answer in time"):
        await ask(client, timeout_s=0.2)
    assert len(endpoint.seen) == 1


async def test_a_cancelled_call_ends_at_once(endpoint: Endpoint, client: OpenAICompatibleClient) -> None:
    endpoint.script = [Scripted("", hang=True)]
    asked = asyncio.create_task(ask(client))
    await endpoint.arrived.wait()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert len(endpoint.seen) == 1


async def test_a_call_is_traced_with_its_tokens_and_without_what_was_said(
    endpoint: Endpoint, client: OpenAICompatibleClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = InMemorySpanExporter()
    tracing = TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: tracing)
    monkeypatch.setattr(trace, "get_tracer", lambda *_, **__: tracing.get_tracer("test"))
    endpoint.script = [completion("It is 12.", usage=(31, 5))]
    await ask(client)
    (span,) = spans.get_finished_spans()
    assert span.attributes is not None
    assert span.name == "chat gpt-4o"
    assert span.attributes["gen_ai.provider.name"] == "openai"
    assert span.attributes["gen_ai.usage.input_tokens"] == 31
    assert "It is 12." not in span.to_json()
    assert "What is the NPV?" not in span.to_json()


@pytest.mark.parametrize(
    "answer",
    [
        Scripted('{"choices": [', 200),
        Scripted("<html>welcome</html>", 200, content_type="text/html"),
        Scripted({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": []}),
        Scripted({"id": "x", "created": 1, "model": "m", "choices": None}),
        Scripted({"hello": "world"}),
        Scripted([1, 2]),
        Scripted("null"),
    ],
)
async def test_an_answer_that_is_no_completion_is_unavailable_and_not_paid_for_twice(
    endpoint: Endpoint, client: OpenAICompatibleClient, answer: Scripted
) -> None:
    endpoint.script = [answer]
    with pytest.raises(ModelUnavailable, match="endpoint's answer"):
        await ask(client)
    assert len(endpoint.seen) == 1


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, "context_length_exceeded", "This model's maximum context length is 8192 tokens."),
        (400, "content_filter", "The response was filtered."),
        (401, "invalid_api_key", "Incorrect API key provided."),
        (403, None, "Project has no access to the model."),
        (404, "model_not_found", "The model does not exist."),
        (429, "insufficient_quota", "You exceeded your current quota."),
    ],
)
async def test_a_refusal_names_status_and_reason_and_is_not_retried(
    endpoint: Endpoint, client: OpenAICompatibleClient, status: int, code: str | None, message: str
) -> None:
    endpoint.script = [failure(status, message, code=code)]
    with pytest.raises(ModelRejected) as caught:
        await ask(client)
    assert caught.value.message == f"openai: HTTP {status}: {message}"
    assert caught.value.status == status
    assert len(endpoint.seen) == 1


@pytest.mark.parametrize("status", [401, 503])
async def test_a_key_that_the_endpoint_repeats_reaches_no_error_trace_or_log(
    endpoint: Endpoint,
    client: OpenAICompatibleClient,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    endpoint.script = [failure(status, f"bad header: Bearer {KEY}", x_echo="1")]
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises((ModelRejected, ModelUnavailable), match="bad header") as caught,
    ):
        await ask(client, timeout_s=0.4)
    assert "[redacted]" in caught.value.message
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert KEY not in caplog.text
    assert KEY not in repr(caught.value.details)


async def test_a_reply_cut_off_at_the_limit_is_an_error_that_carries_what_was_paid(
    endpoint: Endpoint, client: OpenAICompatibleClient
) -> None:
    endpoint.script = [completion("It is tw", finish_reason="length", usage=(20, 256))]
    with pytest.raises(ModelTruncated, match="cut off at 256 output tokens") as caught:
        await ask(client)
    assert caught.value.reply.usage.output_tokens == 256
    assert caught.value.reply.text == "It is tw"


async def test_azure_with_an_api_version_asks_the_deployment_with_an_api_key_header(
    endpoint: Endpoint, clock: MovedClock
) -> None:
    endpoint.script = [completion("ok")]
    client = make_client(endpoint.root, clock, api_version="2024-10-21")
    await ask(client, model="board-model")
    await client.close()
    seen = endpoint.seen[0]
    assert seen.path == "/openai/deployments/board-model/chat/completions"
    assert seen.query == {"api-version": "2024-10-21"}
    assert seen.headers["api-key"] == KEY


async def test_no_variable_of_the_sdk_moves_requests_elsewhere(
    endpoint: Endpoint, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/elsewhere")
    monkeypatch.setenv("OPENAI_MODEL", "another-model")
    monkeypatch.setenv("OPENAI_API_KEY", "another-key")
    endpoint.script = [completion("ok")]
    client = make_client(endpoint.url, clock)
    await ask(client)
    await client.close()
    assert endpoint.seen[0].body["model"] == "gpt-4o"
    assert endpoint.seen[0].headers["Authorization"] == f"Bearer {KEY}"
    # The default cannot be asked here: only where it would go can be seen.
    default = OpenAICompatibleClient(model="gpt-4o", keys=FixedKey(KEY))
    assert str(default._sdk.base_url) == "https://api.openai.com/v1/"
    await default.close()
