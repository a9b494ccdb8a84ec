import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from audit_run import RUN, STORY, fact, facts, log, salts
from hypothesis import given
from hypothesis import strategies as st

from aos.kernel.canonical import Json, encode
from aos.kernel.errors import Integrity, InvalidInput
from aos.kernel.governance.audit.encoding import MAX_DEPTH, decode
from aos.kernel.governance.audit.merkle import leaf_hash, root_of
from aos.kernel.governance.audit.records import Fact, FactType, LogHead, Record, append

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
payloads: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
facts_of_any_kind = st.builds(
    Fact,
    id=text.filter(bool),
    type=st.sampled_from(FactType),
    at=st.just("2026-01-31T12:00:00.000Z"),
    actor=text.filter(bool),
    subject=st.dictionaries(text.filter(bool), text | st.integers(0, 9), max_size=2),
    payload=payloads,
)


def nested(depth: int) -> Json:
    value: Json = 1
    for _ in range(depth):
        value = [value]
    return value


@given(st.lists(facts_of_any_kind, max_size=9), st.data())
def test_log_is_the_same_however_its_facts_are_batched(batch: list[Fact], data: st.DataObject) -> None:
    at, salt = data.draw(st.integers(0, len(batch))), salts(len(batch))
    whole, all_records = append(LogHead(RUN), batch, salt)
    head, first = append(LogHead(RUN), batch[:at], salt[:at])
    head, second = append(LogHead.from_json(json.loads(encode(head.to_json()))), batch[at:], salt[at:])
    assert (head, first + second) == (whole, all_records)
    assert head.root == root_of([record.leaf.hash for record in all_records])


@given(facts_of_any_kind)
def test_fact_and_record_come_back_from_their_encoding(one: Fact) -> None:
    assert Fact.from_json(json.loads(encode(one.to_json()))) == one
    _, (record,) = append(LogHead(RUN), [one], salts(1))
    read = Record.from_json(decode(encode(record.to_json()), max_depth=MAX_DEPTH + 1))
    assert read == record
    assert read.payload_agrees()


def test_leaf_holds_what_the_log_commits_to() -> None:
    _, records = log()
    second = records[1].to_json()["leaf"]
    before = encode(records[0].leaf.model_dump())
    payload = '{"n":1,"text":"é\\n\\"\'"}'.encode()
    assert second == {
        "v": 1,
        "run": "run-1",
        "seq": 1,
        "id": "f1",
        "type": "step.scheduled",
        "at": "2026-01-31T12:00:00.001Z",
        "actor": "agent:cfo",
        "subject": {"step": "assess", "attempt": 1},
        "prev": leaf_hash(before).hex(),
        "digest": hashlib.sha256(bytes([2]) * 16 + payload).hexdigest(),
    }
    assert records[0].leaf.prev == ""


def test_erased_record_keeps_its_leaf_and_loses_payload_and_salt() -> None:
    _, records = log()
    erased = records[2].erase()
    assert erased.leaf == records[2].leaf
    assert erased.to_json().keys() == {"leaf"}
    assert erased.erased
    assert erased.payload_agrees()
    assert Record.from_json(erased.to_json()) == erased


def test_null_payload_is_not_an_erased_one() -> None:
    _, (record,) = append(LogHead(RUN), [fact(0, FactType.RUN_STARTED, None)], salts(1))
    assert not record.erased
    assert record.payload_agrees()
    assert not replace(record, payload=False).payload_agrees()


def test_salt_hides_equal_payloads_from_each_other() -> None:
    same = [fact(0, FactType.STEP_COMPLETED, "yes"), fact(1, FactType.STEP_COMPLETED, "yes")]
    _, (first, second) = append(LogHead(RUN), same, salts(2))
    assert first.leaf.digest != second.leaf.digest


@pytest.mark.parametrize("number", [1, 1.0, True])
def test_payload_of_another_json_type_does_not_agree(number: Json) -> None:
    _, (record,) = append(LogHead(RUN), [fact(0, FactType.STEP_COMPLETED, number)], salts(1))
    for other in (1, 1.0, True):
        assert replace(record, payload=other).payload_agrees() == (type(other) is type(number))


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""},
        {"id": "x" * 257},
        {"id": "\ud800"},
        {"actor": ""},
        {"at": "2026-01-31T12:00:00Z"},
        {"at": "2026-01-31T12:00:00.000+00:00"},
        {"at": "2026-02-30T12:00:00.000Z"},
        {"at": "2026-01-31T12:00:00.000Z\n"},
        {"type": "run.imagined"},
        {"subject": {"step": 1.5}},
        {"subject": {"step": True}},
        {"subject": {"step": None}},
        {"subject": {"step": 10**400}},
        {"subject": {"": "x"}},
        {"subject": 7},
        {"payload": float("nan")},
        {"payload": float("inf")},
        {"payload": "\ud800"},
        {"payload": {1: "a", "1": "b"}},
        {"payload": {10: "a", 9: "b"}},
        {"payload": b"bytes"},
        {"payload": nested(MAX_DEPTH + 1)},
        {"payload": nested(100_000)},
        {"payload": 10**5000},
        {"surprise": 1},
    ],
)
def test_fact_that_could_not_be_verified_later_is_refused_when_it_is_made(change: dict[str, Any]) -> None:
    good = fact(0, FactType.RUN_STARTED).to_json()
    with pytest.raises(InvalidInput):
        Fact.from_json({**good, **change})


def test_payload_of_the_greatest_depth_is_recorded_and_read_back() -> None:
    _, (record,) = append(LogHead(RUN), [fact(0, FactType.STEP_COMPLETED, nested(MAX_DEPTH))], salts(1))
    assert Record.from_json(decode(encode(record.to_json()), max_depth=MAX_DEPTH + 1)) == record


@pytest.mark.parametrize("given_salts", [[], salts(4), [*salts(4), b"short"], salts(6)])
def test_append_refuses_salts_that_do_not_fit_the_facts(given_salts: list[bytes]) -> None:
    with pytest.raises(InvalidInput):
        append(LogHead(RUN), facts(), given_salts)


def test_append_refuses_a_run_that_is_no_id() -> None:
    with pytest.raises(InvalidInput):
        append(LogHead("Not An Id"), facts(), salts(len(STORY)))


@pytest.mark.parametrize("change", [{"run": 1}, {"last": ""}, {"last": "xyz"}, {"frontier": {}}, {"more": 1}])
def test_malformed_head_is_refused(change: dict[str, Any]) -> None:
    head, _ = log()
    with pytest.raises(Integrity):
        LogHead.from_json({**head.to_json(), **change})


def test_leaf_of_a_type_not_known_yet_is_read() -> None:
    _, records = log()
    value: Any = records[0].to_json()
    value["leaf"]["type"] = "memory.written"
    assert Record.from_json(value).leaf.type == "memory.written"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" 1",
        b"1 ",
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'"\\u00e9"',
        b'"\\ud800"',
        b"1e5",
        b"1E400",
        b"-0",
        b"NaN",
        b"-Infinity",
        b"9" * 5000,
        b"\xff",
        b"\xef\xbb\xbf1",
        '"é"'.encode("utf-16"),
        b"[" * 100_000,
        b"[" * 1000 + b"]" * 1000,
        b'{"a":' * 1000 + b"1" + b"}" * 1000,
    ],
)
def test_reader_refuses_whatever_is_not_the_one_encoding(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the message differs with what is wrong
        decode(data)


@given(payloads)
def test_reader_reads_what_the_encoder_writes(value: Json) -> None:
    assert encode(decode(encode(value))) == encode(value)
