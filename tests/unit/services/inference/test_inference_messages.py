"""Values of a conversation: exact round trips, and models' malformed arguments."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aos.kernel.errors import InvalidInput
from aos.services.inference import Message, ModelReply, Role, ToolCall, Usage

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
CALLS = st.builds(ToolCall, TEXT, TEXT, st.dictionaries(TEXT, JSON, max_size=3)) | st.builds(
    ToolCall.parse, TEXT, TEXT, st.text(max_size=20)
)
MESSAGES = st.builds(
    Message, st.sampled_from(Role), TEXT, st.lists(CALLS, max_size=3).map(tuple), st.none() | TEXT
)
COUNTS = st.integers(0, 10**9)
REPLIES = st.builds(
    ModelReply,
    TEXT,
    st.lists(CALLS, max_size=3).map(tuple),
    st.builds(Usage, COUNTS, COUNTS),
    TEXT,
    TEXT,
    TEXT,
    st.none() | TEXT,
)


@given(MESSAGES)
def test_a_message_comes_back_from_json_exactly(message: Message) -> None:
    assert Message.from_json(json.loads(json.dumps(message.to_json()))) == message


@given(REPLIES)
def test_a_reply_comes_back_from_json_exactly(reply: ModelReply) -> None:
    written = json.dumps(reply.to_json(), ensure_ascii=False).encode()
    assert ModelReply.from_json(json.loads(written)) == reply


@given(st.dictionaries(TEXT, JSON, max_size=3))
def test_arguments_that_are_an_object_are_read(arguments: dict[str, Any]) -> None:
    call = ToolCall.parse("1", "npv", json.dumps(arguments))
    assert (call.arguments, call.arguments_error, call.raw_arguments) == (arguments, None, None)


@given(st.text())
def test_any_other_text_is_marked_and_can_still_be_journalled(raw: str) -> None:
    call = ToolCall.parse("1", "npv", raw)
    json.dumps(call.to_json(), ensure_ascii=False, allow_nan=False).encode()
    assert call.arguments_error is not None or isinstance(call.arguments, dict)


def test_no_arguments_at_all_are_an_empty_object() -> None:
    assert ToolCall.parse("1", "clock", " ") == ToolCall("1", "clock", {})


def test_the_error_quotes_the_beginning_of_what_the_model_wrote() -> None:
    error = ToolCall.parse("1", "npv", "{" + "x" * 5000).arguments_error
    assert error is not None
    assert error.startswith("the arguments of 'npv' are not a JSON object: ")
    assert len(error) < 400


@pytest.mark.parametrize("value", [{}, {"role": "robot", "text": ""}, {"role": "user"}, [], None, 7])
def test_what_is_no_message_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="not a message"):
        Message.from_json(value)


@pytest.mark.parametrize(
    ("kind", "value"), [(ToolCall, {"id": "1"}), (Usage, {"input_tokens": 1}), (ModelReply, {"text": ""})]
)
def test_what_lacks_a_part_is_refused(kind: type[ToolCall | Usage | ModelReply], value: Any) -> None:
    with pytest.raises(InvalidInput):
        kind.from_json(value)
