"""The codec: round trips, and bytes that are not AMQP."""

import uuid
from typing import Any

import pytest
from azure.servicebus._pyamqp._decode import decode_payload
from hypothesis import given
from hypothesis import strategies as st

from aos.local.servicebus.amqp_types import (
    Array,
    Described,
    Int,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
)
from aos.local.servicebus.content import Content, build_message
from aos.local.servicebus.decoding import decode, skip
from aos.local.servicebus.encoding import encode
from aos.local.servicebus.errors import DecodeError
from aos.local.servicebus.performatives import (
    Attach,
    Begin,
    Disposition,
    Flow,
    Open,
    Transfer,
    decode_performative,
    encode_frame,
    encode_transfer,
)

_I64 = {"min_value": -(2**63), "max_value": 2**63 - 1}
_ASCII = st.text(st.characters(max_codepoint=127), max_size=300)
_SIMPLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(**_I64),
    st.integers(0, 2**32 - 1).map(UInt),
    st.integers(0, 2**64 - 1).map(ULong),
    st.integers(0, 2**16 - 1).map(UShort),
    st.integers(0, 255).map(UByte),
    st.integers(-(2**31), 2**31 - 1).map(Int),
    st.integers(**_I64).map(Timestamp),
    st.floats(allow_nan=False),
    st.uuids(),
    st.binary(max_size=300),
    st.text(max_size=300),
    _ASCII.map(Symbol),
)
_VALUES = st.recursive(
    _SIMPLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.dictionaries(st.text(max_size=9), inner, max_size=6),
        st.builds(Described, st.integers(0, 2**64 - 1) | _ASCII.map(Symbol), inner),
    ),
    max_leaves=12,
)


@given(_VALUES)
def test_a_value_survives_encoding_and_decoding(value: Any):
    encoded = encode(value)
    assert decode(encoded) == (value, len(encoded))
    assert skip(encoded, 0) == len(encoded)


@pytest.mark.parametrize(
    ("kind", "items"),
    [
        (int, [1, -5, 2**40]),
        (Timestamp, [0, 99]),
        (str, ["a", "ü" * 300]),
        (Symbol, ["s"]),
        (uuid.UUID, [uuid.UUID(int=7)]),
        (int, []),
    ],
)
def test_an_array_survives_encoding_and_decoding(kind: type, items: list[Any]):
    encoded = encode(Array(kind, items))
    assert decode(encoded) == (items, len(encoded))


@given(_VALUES, st.data())
def test_a_truncated_value_is_a_decode_error(value: Any, data: st.DataObject):
    encoded = encode(value)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(DecodeError):
        decode(encoded[:cut])
    with pytest.raises(DecodeError):
        skip(encoded[:cut], 0)


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_a_decode_error(data: bytes):
    for read in (decode, decode_performative_of, Content.parse):
        try:
            read(data)
        except DecodeError:
            continue


def decode_performative_of(data: bytes) -> Any:
    return decode_performative(b"\x00\x53" + data)


@pytest.mark.parametrize(
    "data", [b"\x00" * 5000, b"\xc0\x02\x01" * 2000, b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40"]
)
def test_a_value_made_to_exhaust_the_decoder_is_a_decode_error(data: bytes):
    with pytest.raises(DecodeError):
        decode(data)


@pytest.mark.parametrize(
    "performative",
    [
        Open("container", "host", 65536, 255, 1000, properties={"a": "b"}),
        Begin(1, 0, 5, 5),
        Attach("link", 3, True, 1, 0, Described(0x28, ["q"]), None, max_message_size=2**40),
        Flow(1, 2, 3, 4, 5, 6, 7, drain=True),
        Transfer(0, 1, b"tag", 0, more=True),
        Disposition(True, 1, 2, True, Described(0x24, [])),
    ],
)
def test_a_performative_survives_a_frame(performative: Any):
    encoded = encode_frame(7, performative, b"payload")
    assert int.from_bytes(encoded[:4]) == len(encoded)
    assert int.from_bytes(encoded[6:8]) == 7
    assert decode_performative(encoded[8:]) == (performative, b"payload")


def test_the_quick_transfer_equals_the_general_one():
    quick = encode_transfer(2, 300, 70000, b"t" * 16, b"body", settled=False, more=True)
    decoded, payload = decode_performative(quick[8:])
    assert decoded == Transfer(300, 70000, b"t" * 16, 0, settled=False, more=True)
    assert payload == b"body"


@given(
    st.binary(max_size=400), st.dictionaries(st.text(max_size=20), _SIMPLE, max_size=4), st.text(max_size=100)
)
def test_the_sdk_reads_the_messages_that_this_process_sends(
    body: bytes, properties: dict[str, Any], text: str
):
    raw = build_message(body, application_properties=properties, message_id="id", subject=text)
    message = decode_payload(memoryview(raw))
    assert b"".join(message.data or []) == body
    assert message.properties.subject == text.encode()
    assert set(message.application_properties or {}) == {name.encode() for name in properties}
    content = Content.parse(raw)
    assert content.body() == body
    assert content.application_properties() == properties
    assert content.property_fields() == {"message_id": "id", "subject": text}


@given(st.binary(max_size=40), st.none() | st.text(max_size=40), st.booleans())
def test_a_message_without_an_id_gets_one_and_keeps_the_rest(body: bytes, subject: str | None, later: bool):
    raw = build_message(
        body, subject=subject, ttl_ms=5, scheduled_ms=7 if later else None, application_properties={"a": 1}
    )
    content = Content.parse(raw).with_properties({"message_id": "given"})
    assert content.property_fields() == {"message_id": "given"} | (
        {"subject": subject} if subject is not None else {}
    )
    assert (content.body(), content.application_properties()) == (body, {"a": 1})
    assert (content.ttl_ms, content.scheduled_ms()) == (5, 7 if later else None)


def test_sections_out_of_order_or_twice_are_a_decode_error():
    one = build_message(b"", subject="s")
    with pytest.raises(DecodeError, match="out of order"):
        Content.parse(one + one)
