"""The mock: what it calls, what it answers, and that it says what it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from aos.kernel.agents.definition import Schema, ToolDefinition
from aos.services.inference import Message, ModelReply, ModelTruncated, Role
from aos.services.inference.mock.client import MockModelClient


def tool(name: str, required: Sequence[str] = (), **properties: dict[str, Any]) -> ToolDefinition:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return ToolDefinition(name, f"Computes {name}.", schema)


NUMBER = {"type": "number"}
TEXT = {"type": "string"}
NPV = tool("npv", ["cash_flows", "rate"], cash_flows={"type": "array", "items": NUMBER}, rate=NUMBER)
WEIGH = tool("weigh", ["npv_usd"], npv_usd=NUMBER, risk=NUMBER)


def task(value: Any) -> Message:
    return Message(Role.USER, f"Consider this.\n\n```json\n{json.dumps(value, indent=1)}\n```\nDecide.")


async def turn(
    messages: Sequence[Message],
    tools: Sequence[ToolDefinition] = (),
    schema: Schema | None = None,
    limit: int = 4096,
) -> ModelReply:
    return await MockModelClient().complete(
        messages, tools, model="gpt-4o", output_schema=schema, max_output_tokens=limit, timeout_s=1
    )


async def play(
    messages: Sequence[Message],
    tools: Sequence[ToolDefinition],
    results: dict[str, Any],
    schema: Schema | None = None,
) -> tuple[list[list[str]], ModelReply]:
    """Run a whole conversation; return the tools that were called in each turn, and the last reply."""
    history, turns = list(messages), []
    while (reply := await turn(history, tools, schema)).tool_calls:
        turns.append([call.name for call in reply.tool_calls])
        history.append(reply.message())
        history += [
            Message(Role.TOOL, json.dumps(results[call.name]), tool_call_id=call.id)
            for call in reply.tool_calls
        ]
    return turns, reply


def output(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


async def test_it_calls_a_tool_with_arguments_found_deep_in_the_input() -> None:
    proposal = {"proposal": {"finance": [{"cash_flows": [-10, 6, 7]}], "rate": 0.08}}
    (call,) = (await turn([task(proposal)], [NPV])).tool_calls
    assert call.arguments == {"cash_flows": [-10, 6, 7], "rate": 0.08}


async def test_a_message_that_is_json_as_a_whole_is_the_input() -> None:
    (call,) = (await turn([Message(Role.USER, '{"npv_usd": 3}')], [WEIGH])).tool_calls
    assert call.arguments == {"npv_usd": 3}


async def test_the_last_block_is_the_input_and_fences_within_strings_do_not_end_it() -> None:
    text = '```json\n{"npv_usd": 1}\n```\nthen\n```json\n{"note": "```json x ```", "npv_usd": 2}\n```'
    (call,) = (await turn([Message(Role.USER, text)], [WEIGH])).tool_calls
    assert call.arguments == {"npv_usd": 2}


async def test_the_input_stays_known_when_later_messages_hold_none() -> None:
    later = Message(Role.USER, "Your answer was not valid; try again.")
    (call,) = (await turn([task({"npv_usd": 2}), later], [WEIGH])).tool_calls
    assert call.arguments == {"npv_usd": 2}


async def test_the_least_deep_value_of_the_right_type_is_taken() -> None:
    value = {"a": {"npv_usd": 5}, "npv_usd": "five", "b": {"c": {"npv_usd": 6}}}
    (call,) = (await turn([task(value)], [WEIGH])).tool_calls
    assert call.arguments == {"npv_usd": 5}


async def test_a_tool_that_needs_an_earlier_result_is_called_in_the_next_turn() -> None:
    turns, reply = await play(
        [task({"cash_flows": [1], "rate": 0.1})],
        [WEIGH, NPV],
        {"npv": {"npv_usd": 42.5}, "weigh": {"score": 9}},
    )
    assert turns == [["npv"], ["weigh"]]
    assert "npv reported npv_usd=42.5" in reply.text
    assert "weigh reported score=9" in reply.text


async def test_all_tools_with_known_arguments_are_called_in_one_reply() -> None:
    turns, _ = await play(
        [task({"cash_flows": [1], "rate": 0.1, "npv_usd": 1})], [NPV, WEIGH], {"npv": {}, "weigh": {}}
    )
    assert turns == [["npv", "weigh"]]


async def test_a_tool_whose_arguments_cannot_be_found_is_not_called_and_the_text_says_so() -> None:
    reply = await turn([task({"cash_flows": "none"})], [NPV])
    assert reply.tool_calls == ()
    assert "npv was not called, nothing in the input is its cash_flows, rate" in reply.text


async def test_a_tool_without_parameters_is_called_once() -> None:
    turns, _ = await play([task({})], [tool("clock")], {"clock": {"now": "12:00"}})
    assert turns == [["clock"]]


async def test_an_error_of_a_tool_is_reported_and_the_tool_is_not_called_again() -> None:
    failed = {"error": "the ledger is closed", "npv_usd": 7}
    turns, reply = await play(
        [task({"cash_flows": [1], "rate": 0.1})], [NPV, WEIGH], {"npv": failed, "weigh": {}}
    )
    assert turns == [["npv"]]
    assert "npv failed: the ledger is closed" in reply.text


async def test_a_result_that_is_no_object_is_known_by_its_tools_name() -> None:
    _, reply = await play([task({})], [tool("clock")], {"clock": "12:00"}, output(clock=TEXT))
    assert json.loads(reply.text) == {"clock": "12:00"}


async def test_the_answer_takes_the_latest_result_before_the_input() -> None:
    schema = output(npv_usd=NUMBER, name=TEXT, score=NUMBER)
    _, reply = await play(
        [task({"cash_flows": [1], "rate": 0.1, "name": "Orion", "score": 0})],
        [NPV, WEIGH],
        {"npv": {"npv_usd": 1, "score": 1}, "weigh": {"score": 2}},
        schema,
    )
    assert json.loads(reply.text) == {"npv_usd": 1, "name": "Orion", "score": 2}


async def test_words_are_asked_for_and_the_mock_names_itself_in_them() -> None:
    schema = output(rationale=TEXT, headline=TEXT, decision={"enum": ["go", "stop"]})
    _, reply = await play(
        [task({"rationale": "because", "npv_usd": 1})], [WEIGH], {"weigh": {"decision": "go"}}, schema
    )
    answer = json.loads(reply.text)
    assert answer["decision"] == "go"
    assert answer["rationale"].startswith("mock: no reasoning was done; weigh reported decision=go")
    assert answer["headline"].startswith("mock:")


async def test_a_required_property_without_a_source_is_named_instead_of_invented() -> None:
    schema = output(figures=output(irr=NUMBER), summary=TEXT)
    reply = await turn([task({"irr": "unknown"})], schema=schema)
    assert reply.text.startswith("mock:")
    assert reply.text.endswith("fits the output's figures.irr")


async def test_an_optional_property_without_a_source_is_left_out_and_a_nullable_one_is_null() -> None:
    schema = {
        "type": "object",
        "properties": {"irr": NUMBER, "owner": {"type": ["string", "null"]}, "note": TEXT},
        "required": ["owner"],
        "additionalProperties": False,
    }
    assert json.loads((await turn([task({})], schema=schema)).text) == {"owner": None}


async def test_nested_objects_and_definitions_are_filled_by_their_parts() -> None:
    schema = {
        "type": "object",
        "properties": {"figures": {"$ref": "#/$defs/Figures"}},
        "required": ["figures"],
        "$defs": {"Figures": output(npv_usd=NUMBER, currency={"const": "USD"})},
    }
    reply = await turn([task({"npv_usd": 4})], schema=schema)
    assert json.loads(reply.text) == {"figures": {"npv_usd": 4, "currency": "USD"}}


async def test_a_limited_text_is_cut_to_fit() -> None:
    reply = await turn([task({})], schema=output(summary={"type": "string", "maxLength": 10}))
    assert json.loads(reply.text) == {"summary": "mock: no r"}


async def test_no_other_model_is_pretended() -> None:
    reply = await turn([task({})])
    assert (reply.provider, reply.model, reply.served_by) == ("mock", "mock", "mock")
    assert reply.text.startswith("mock:")


async def test_tokens_are_four_bytes_each_way() -> None:
    reply = await turn([Message(Role.USER, "häuser")])
    assert reply.usage.input_tokens == 2
    assert reply.usage.output_tokens == -(-len(reply.text.encode()) // 4)


async def test_a_reply_longer_than_allowed_is_truncated() -> None:
    with pytest.raises(ModelTruncated) as caught:
        await turn([task({})], limit=2)
    assert caught.value.reply.text == "mock: no"
    assert caught.value.reply.usage.output_tokens == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["npv_usd", "risk", "rate", "cash_flows", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(value=JSON, result=JSON)
async def test_any_input_gets_equal_replies_valid_arguments_and_an_answer_that_fits_or_says_why(
    value: Any, result: Any
) -> None:
    schema = output(risk=NUMBER, summary=TEXT)
    start = [Message(Role.USER, f"```json\n{json.dumps(value)}\n```")]
    first = await turn(start, [NPV, WEIGH], schema)
    assert await turn(start, [NPV, WEIGH], schema) == first
    schemas = {NPV.name: NPV.parameters, WEIGH.name: WEIGH.parameters}
    assert all(Draft202012Validator(schemas[call.name]).is_valid(call.arguments) for call in first.tool_calls)
    _, last = await play(start, [NPV, WEIGH], {"npv": result, "weigh": result}, schema)
    if last.text.startswith("mock:"):
        assert last.text.endswith("fits the output's risk")
    else:
        assert Draft202012Validator(schema).is_valid(json.loads(last.text))


@given(rate=st.floats(allow_nan=False, allow_infinity=False))
async def test_another_input_gives_other_arguments(rate: float) -> None:
    (call,) = (await turn([task({"cash_flows": [1], "rate": rate})], [NPV])).tool_calls
    assert call.arguments["rate"] == rate
