"""What every provider of `ModelClient` does alike; `openai` answers from a scripted endpoint."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest
from chat_completions_endpoint import Endpoint, Scripted, call, completion
from pydantic import SecretStr

from aos.kernel.agents.definition import Schema, ToolDefinition
from aos.services.inference import (
    Message,
    ModelClient,
    ModelReply,
    ModelTruncated,
    PriceTable,
    Provider,
    Role,
    make_model_client,
)

TASK = Message(Role.USER, 'Judge it.\n```json\n{"cash_flows": [-100, 70, 70], "rate": 0.1}\n```')
SYSTEM = Message(Role.SYSTEM, "You are a CFO.")
NPV = ToolDefinition(
    "npv",
    "Net present value.",
    {
        "type": "object",
        "properties": {
            "cash_flows": {"type": "array", "items": {"type": "number"}},
            "rate": {"type": "number"},
        },
        "required": ["cash_flows", "rate"],
    },
)
PAYBACK = ToolDefinition(
    "payback",
    "Payback period.",
    {"type": "object", "properties": {"cash_flows": {"type": "array"}}, "required": ["cash_flows"]},
)
ARGUMENTS = '{"cash_flows": [-100, 70, 70], "rate": 0.1}'
ANSWER = {
    "type": "object",
    "properties": {"npv_usd": {"type": "number"}, "rationale": {"type": "string"}},
    "required": ["npv_usd", "rationale"],
    "additionalProperties": False,
}


@pytest.fixture(params=["mock", "openai"])
async def client(request: pytest.FixtureRequest, endpoint: Endpoint) -> AsyncIterator[ModelClient]:
    provider: Provider = request.param
    client = make_model_client(
        provider, model="gpt-4o", base_url=endpoint.url, api_key=SecretStr("sk-contract")
    )
    yield client
    await client.close()


async def turn(
    client: ModelClient,
    messages: Sequence[Message],
    tools: Sequence[ToolDefinition] = (),
    *,
    output_schema: Schema | None = None,
    max_output_tokens: int = 512,
) -> ModelReply:
    return await client.complete(
        messages,
        tools,
        model=None,
        output_schema=output_schema,
        max_output_tokens=max_output_tokens,
        timeout_s=20,
    )


def script(endpoint: Endpoint, *answers: Scripted) -> None:
    endpoint.script = list(answers)


async def test_a_text_reply_names_provider_model_and_usage(client: ModelClient, endpoint: Endpoint) -> None:
    script(endpoint, completion("Fine."))
    reply = await turn(client, [SYSTEM, TASK])
    assert reply.text
    assert reply.tool_calls == ()
    assert reply.finish_reason == "stop"
    assert (reply.provider, reply.model) == (client.provider, client.default_model)
    assert reply.usage.input_tokens > 0
    assert reply.usage.output_tokens > 0


async def test_the_model_of_a_reply_is_the_one_that_is_priced(
    client: ModelClient, endpoint: Endpoint
) -> None:
    script(endpoint, completion("Fine."))
    reply = await turn(client, [TASK])
    assert reply.model == client.model_for(None)
    assert PriceTable().cost(reply.model, reply.usage) > 0


async def test_tools_are_asked_for_in_one_reply(client: ModelClient, endpoint: Endpoint) -> None:
    calls = [call("npv", ARGUMENTS, "c1"), call("payback", '{"cash_flows": [-100, 70, 70]}', "c2")]
    script(endpoint, completion(None, calls))
    reply = await turn(client, [TASK], [NPV, PAYBACK])
    assert reply.finish_reason == "tool_calls"
    assert [made.name for made in reply.tool_calls] == ["npv", "payback"]
    assert reply.tool_calls[0].arguments == json.loads(ARGUMENTS)
    assert len({made.id for made in reply.tool_calls}) == 2


async def test_results_lead_to_a_structured_answer(client: ModelClient, endpoint: Endpoint) -> None:
    script(
        endpoint,
        completion(None, [call("npv", ARGUMENTS)]),
        completion('{"npv_usd": 21.49, "rationale": "It pays."}'),
    )
    asked = await turn(client, [TASK], [NPV], output_schema=ANSWER)
    result = Message(Role.TOOL, '{"npv_usd": 21.49}', tool_call_id=asked.tool_calls[0].id)
    answered = await turn(client, [TASK, asked.message(), result], [NPV], output_schema=ANSWER)
    output = json.loads(answered.text)
    assert output["npv_usd"] == 21.49
    assert output["rationale"]


async def test_a_reply_over_the_limit_is_truncated_and_charged_to_the_limit(
    client: ModelClient, endpoint: Endpoint
) -> None:
    script(endpoint, completion("Fi", finish_reason="length", usage=(9, 3)))
    with pytest.raises(ModelTruncated) as caught:
        await turn(client, [TASK], max_output_tokens=3)
    assert caught.value.reply.usage.output_tokens == 3
    assert caught.value.reply.finish_reason == "length"


async def test_the_estimate_covers_what_is_counted_and_grows_with_every_part(client: ModelClient) -> None:
    counts = [
        client.count_tokens([TASK], []),
        client.count_tokens([SYSTEM, TASK], []),
        client.count_tokens([SYSTEM, TASK], [NPV]),
        client.count_tokens([SYSTEM, TASK], [NPV], ANSWER),
    ]
    assert counts == sorted(set(counts))
    assert counts[0] >= len(TASK.text) // 4


async def test_a_reply_and_its_message_survive_the_journal(client: ModelClient, endpoint: Endpoint) -> None:
    script(endpoint, completion("Look:", [call("npv", ARGUMENTS)]))
    reply = await turn(client, [TASK], [NPV])
    journalled = json.loads(json.dumps(reply.to_json()))
    assert ModelReply.from_json(journalled) == reply
    assert Message.from_json(json.loads(json.dumps(reply.message().to_json()))) == reply.message()


async def test_closing_gives_up_the_connections_and_may_be_done_twice(
    client: ModelClient, endpoint: Endpoint
) -> None:
    script(endpoint, completion("Fine."))
    await turn(client, [TASK])
    await client.close()
    async with asyncio.timeout(10):
        await endpoint.left()
    await client.close()
