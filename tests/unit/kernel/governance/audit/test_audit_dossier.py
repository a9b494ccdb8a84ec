import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from audit_run import (
    RUN,
    STORY,
    STRANGER,
    TENANT,
    TRUSTED,
    dossier,
    edit,
    fact,
    facts,
    lines,
    log,
    rechain,
    salts,
    sign,
)
from hypothesis import given
from hypothesis import strategies as st

from aos.kernel.canonical import Json, encode
from aos.kernel.errors import Integrity, InvalidInput
from aos.kernel.governance.audit.dossier import Verified, build_dossier, verify_dossier
from aos.kernel.governance.audit.merkle import frontier_of
from aos.kernel.governance.audit.records import FactType, LogHead, Record, append

KEY = TRUSTED.public_key_pem
HEAD, RECORDS = log()
CHECKPOINT = sign(HEAD)
GOOD = build_dossier(TENANT, RUN, RECORDS, CHECKPOINT)
LAST = len(RECORDS) - 1
END = len(RECORDS) + 1
"""The line of the checkpoint, counted from 0; record n is on line n + 1."""


def refusal(data: bytes, key: bytes = KEY) -> tuple[int | None, str]:
    """Return the record that is named and the message of the refusal."""
    with pytest.raises(Integrity) as caught:
        verify_dossier(data, key)
    return caught.value.details["record"], caught.value.message


def head_of(records: list[Record]) -> LogHead:
    hashes = [record.leaf.hash for record in records]
    return LogHead(RUN, frontier_of(hashes), hashes[-1].hex())


def with_leaf(record: Record, **changes: Any) -> Record:
    return replace(record, leaf=record.leaf.model_copy(update=changes))


def replaced(at: int, record: Record) -> list[Record]:
    return [*RECORDS[:at], record, *RECORDS[at + 1 :]]


def forged(records: list[Record], checkpoint: str = CHECKPOINT) -> bytes:
    return build_dossier(TENANT, RUN, records, checkpoint)


def test_dossier_of_a_whole_run_verifies_and_tells_how_it_ended() -> None:
    assert verify_dossier(GOOD, KEY) == Verified(
        run=RUN,
        tenant=TENANT,
        size=5,
        root=HEAD.root,
        status="completed",
        started_at="2026-01-31T12:00:00.000Z",
        ended_at="2026-01-31T12:00:00.004Z",
        cost_usd=0.25,
        erased=0,
    )


@given(
    st.lists(st.sampled_from(sorted(set(FactType) - {FactType.RUN_STARTED, FactType.RUN_ENDED})), max_size=12)
)
def test_dossier_of_any_run_verifies(kinds: list[FactType]) -> None:
    story = [FactType.RUN_STARTED, *kinds, FactType.RUN_ENDED]
    assert verify_dossier(dossier(story), KEY).size == len(story)


@pytest.mark.parametrize("mask", [0x01, 0x10, 0x20, 0x80])
def test_every_changed_byte_is_refused_and_names_the_record_on_its_line(mask: int) -> None:
    for at, byte in enumerate(GOOD):
        record, _ = refusal(GOOD[:at] + bytes([byte ^ mask]) + GOOD[at + 1 :])
        line = GOOD[:at].count(b"\n")
        on_a_record = 0 < line < END
        joins_the_checkpoint = at == len(GOOD) - len(lines(GOOD)[END]) - 1
        assert record == (line - 1 if on_a_record and not joins_the_checkpoint else None)


def test_every_dropped_and_every_doubled_byte_is_refused() -> None:
    for at in range(len(GOOD)):
        refusal(GOOD[:at] + GOOD[at + 1 :])
        refusal(GOOD[: at + 1] + GOOD[at:])


def test_every_cut_of_the_tail_is_refused() -> None:
    for at in range(len(GOOD)):
        refusal(GOOD[:at])


@pytest.mark.parametrize("tail", [b"x", b"{}", b"\x00", b" ", b"\n", b"{}\n"])
def test_anything_after_the_end_is_refused(tail: bytes) -> None:
    refusal(GOOD + tail)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_refusal(data: bytes) -> None:
    refusal(data)


@given(st.integers(0, len(GOOD)), st.integers(0, 40), st.binary(max_size=40))
def test_no_bytes_within_a_dossier_raise_anything_but_a_refusal(at: int, length: int, data: bytes) -> None:
    changed = GOOD[:at] + data + GOOD[at + length :]
    if changed != GOOD:
        refusal(changed)


@pytest.mark.parametrize("seq", range(len(RECORDS)))
def test_changed_payload_names_its_record_before_the_signature(seq: int) -> None:
    data = edit(forged(RECORDS, sign(HEAD, STRANGER)), seq + 1, payload={"n": 99})
    record, message = refusal(data)
    assert record == seq
    assert "payload" in message


@pytest.mark.parametrize("seq", range(len(RECORDS)))
def test_changed_leaf_names_its_record(seq: int) -> None:
    changed = forged(replaced(seq, with_leaf(RECORDS[seq], actor="agent:eve")))
    assert refusal(edit(changed, END, last=HEAD.last))[0] == seq


@pytest.mark.parametrize("seq", range(len(RECORDS)))
def test_record_with_its_payload_and_digest_replaced_is_named(seq: int) -> None:
    _, (new,) = append(LogHead(RUN), [fact(9, FactType.STEP_FAILED, "x")], salts(1))
    swapped = with_leaf(new, seq=seq, prev=RECORDS[seq].leaf.prev)
    assert refusal(edit(forged(replaced(seq, swapped)), END, last=HEAD.last))[0] == seq


@pytest.mark.parametrize("seq", range(len(RECORDS)))
def test_changed_link_names_its_record(seq: int) -> None:
    changed = forged(replaced(seq, with_leaf(RECORDS[seq], prev="00" * 32)))
    assert refusal(edit(changed, END, last=HEAD.last))[0] == seq


@pytest.mark.parametrize("seq", range(len(RECORDS)))
def test_dropped_record_is_named(seq: int) -> None:
    parts = lines(GOOD)
    record, message = refusal(b"".join(parts[: seq + 1] + parts[seq + 2 :]))
    assert record == seq
    assert "missing" in message


@pytest.mark.parametrize("seq", range(1, len(RECORDS)))
def test_dropped_record_is_named_though_the_rest_is_renumbered(seq: int) -> None:
    rest = [with_leaf(record, seq=record.seq - 1) for record in RECORDS[seq + 1 :]]
    record, _ = refusal(edit(forged([*RECORDS[:seq], *rest]), -1, last=HEAD.last))
    assert record == seq


@pytest.mark.parametrize("seq", range(LAST))
def test_swapped_records_name_the_first_of_the_two(seq: int) -> None:
    parts = lines(GOOD)
    parts[seq + 1], parts[seq + 2] = parts[seq + 2], parts[seq + 1]
    assert refusal(b"".join(parts))[0] == seq


@pytest.mark.parametrize("seq", range(len(RECORDS)))
def test_record_told_twice_is_named(seq: int) -> None:
    parts = lines(GOOD)
    assert refusal(b"".join([*parts[: seq + 2], *parts[seq + 1 :]]))[0] == seq + 1


@pytest.mark.parametrize("kept", range(1, len(RECORDS)))
def test_cut_tail_names_the_first_missing_record(kept: int) -> None:
    parts = lines(GOOD)
    record, message = refusal(b"".join([*parts[: kept + 1], parts[END]]))
    assert record == kept
    assert "missing" in message


@pytest.mark.parametrize("kept", range(len(RECORDS) + 1))
def test_cut_tail_without_a_checkpoint_is_refused(kept: int) -> None:
    record, message = refusal(b"".join(lines(GOOD)[: kept + 1]))
    assert record is None
    assert "tail" in message


@pytest.mark.parametrize("kept", range(1, len(RECORDS)))
def test_older_valid_checkpoint_is_refused(kept: int) -> None:
    older = sign(head_of(RECORDS[:kept]))
    record, message = refusal(forged(RECORDS, older))
    assert record is None
    assert "older" in message


@pytest.mark.parametrize("kept", range(1, len(RECORDS)))
def test_older_log_with_its_own_checkpoint_is_not_complete(kept: int) -> None:
    _, message = refusal(forged(RECORDS[:kept], sign(head_of(RECORDS[:kept]))))
    assert "not complete" in message


@pytest.mark.parametrize("seq", range(len(RECORDS)))
def test_log_rehashed_and_signed_with_another_key_is_refused(seq: int) -> None:
    changed = rechain(replaced(seq, with_leaf(RECORDS[seq], actor="agent:eve")), seq)
    record, message = refusal(forged(changed, sign(head_of(changed), STRANGER)))
    assert record is None
    assert "another key" in message


def test_log_rehashed_under_the_old_checkpoint_is_refused() -> None:
    changed = rechain(replaced(1, with_leaf(RECORDS[1], actor="agent:eve")), 1)
    record, message = refusal(forged(changed))
    assert record is None
    assert "rewritten" in message


def test_wrong_hash_of_the_last_record_does_not_accuse_that_record() -> None:
    record, message = refusal(edit(GOOD, END, last="00" * 32))
    assert record is None
    assert "not that record's hash" in message


@pytest.mark.parametrize("seq", range(len(RECORDS)))
def test_record_of_another_run_is_named(seq: int) -> None:
    _, others = log(run="run-2")
    record, message = refusal(forged(replaced(seq, others[seq])))
    assert record == seq
    assert "run-2" in message


@pytest.mark.parametrize("seq", range(1, len(RECORDS)))
def test_record_of_another_run_passed_off_as_this_runs_is_named(seq: int) -> None:
    _, others = append(LogHead("run-2"), facts(), [bytes(16)] * len(STORY))
    spliced = with_leaf(others[seq], run=RUN, prev=RECORDS[seq].leaf.prev)
    assert refusal(edit(forged(replaced(seq, spliced)), END, last=HEAD.last))[0] == seq


@pytest.mark.parametrize("header", [{"run": "run-2"}, {"tenant": "other"}])
def test_header_of_another_log_is_refused_without_accusing_a_record(header: dict[str, Json]) -> None:
    record, message = refusal(edit(GOOD, 0, **header))
    assert record is None
    assert "header" in message


def test_checkpoint_of_another_tenant_is_refused() -> None:
    assert "other" in refusal(forged(RECORDS, sign(HEAD, tenant="other")))[1]


@pytest.mark.parametrize("size", [4, 6, 10**30])
def test_header_of_another_size_is_refused(size: int) -> None:
    assert refusal(edit(GOOD, 0, size=size))[0] is None


def test_key_from_another_deployment_is_refused() -> None:
    assert "another key" in refusal(GOOD, STRANGER.public_key_pem)[1]


def test_key_that_is_none_is_the_callers_fault_and_not_the_dossiers() -> None:
    for data in (GOOD, b""):
        with pytest.raises(InvalidInput):
            verify_dossier(data, b"no key")


def test_key_inside_the_dossier_is_not_taken() -> None:
    data = edit(dossier(signer=STRANGER), 0, public_key=STRANGER.public_key_pem.decode())
    assert "header" in refusal(data)[1]


@pytest.mark.parametrize(
    ("story", "named"),
    [
        ([FactType.RUN_ENDED], 0),
        ([FactType.RUN_STARTED], None),
        ([FactType.STEP_SCHEDULED, FactType.RUN_ENDED], 0),
        ([FactType.RUN_STARTED, FactType.RUN_STARTED, FactType.RUN_ENDED], 1),
        ([FactType.RUN_STARTED, FactType.RUN_ENDED, FactType.RUN_ENDED], 1),
        ([FactType.RUN_STARTED, FactType.RUN_ENDED, FactType.STEP_FAILED], 1),
    ],
)
def test_signed_log_that_is_not_one_whole_run_is_refused(story: list[FactType], named: int | None) -> None:
    assert refusal(dossier(story))[0] == named


def test_erased_payloads_are_counted_and_the_rest_verifies() -> None:
    erased = [record.erase() if record.seq in {1, 3} else record for record in RECORDS]
    verified = verify_dossier(forged(erased), KEY)
    assert (verified.erased, verified.status, verified.root) == (2, "completed", HEAD.root)


def test_run_whose_end_was_erased_has_no_status_and_no_cost() -> None:
    verified = verify_dossier(forged([record.erase() for record in RECORDS]), KEY)
    assert (verified.erased, verified.status, verified.cost_usd) == (5, None, None)
    assert verified.ended_at == "2026-01-31T12:00:00.004Z"


@pytest.mark.parametrize("missing", ["salt", "payload"])
def test_half_erased_record_is_refused_and_named(missing: str) -> None:
    parts = lines(GOOD)
    value = json.loads(parts[3])
    del value[missing]
    parts[3] = encode(value) + b"\n"
    assert refusal(b"".join(parts))[0] == 2


@pytest.mark.parametrize(
    ("cost", "told"),
    [(1, 1.0), (0.5, 0.5), (None, None), (True, None), ("1", None), (10**400, None), (1e300, None)],
)
def test_cost_is_told_where_it_is_an_amount(cost: Json, told: float | None) -> None:
    ends = fact(1, FactType.RUN_ENDED, {"cost_usd": cost})
    head, records = append(LogHead(RUN), [fact(0, FactType.RUN_STARTED), ends], salts(2))
    verified = verify_dossier(forged(records, sign(head)), KEY)
    assert (verified.cost_usd, verified.status) == (told, None)


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "a key twice": lambda line: line.replace(b'"payload":', b'"payload":1,"payload":', 1),
    "an unknown member": lambda line: line.replace(b'"payload":', b'"note":1,"payload":', 1),
    "white space": lambda line: line.replace(b":", b": ", 1),
    "deep nesting": lambda line: b'{"leaf":' + b"[" * 200_000 + b"\n",
    "balanced deep nesting": lambda line: b'{"leaf":' + b"[" * 2000 + b"]" * 2000 + b"}\n",
    "a number of 5000 digits": lambda line: line.replace(b'"n":2', b'"n":' + b"9" * 5000),
    "a number beyond floats": lambda line: line.replace(b'"n":2', b'"n":1e999'),
    "NaN": lambda line: line.replace(b'"n":2', b'"n":NaN'),
    "invalid UTF-8": lambda line: line.replace(b'"n":2', b'"n":"\xff"'),
    "half a surrogate pair": lambda line: line.replace(b'"n":2', b'"n":"\\ud800"'),
    "a byte order mark": lambda line: b"\xef\xbb\xbf" + line,
    "a NUL": lambda line: line.replace(b'"n":2', b"\x00"),
    "a carriage return": lambda line: line.replace(b"\n", b"\r\n"),
    "an empty line": lambda line: b"\n" + line,
    "a list": lambda line: b"[]\n",
    "null": lambda line: b"null\n",
    "a leaf that is none": lambda line: b'{"leaf":7}\n',
    "a boolean for a number": lambda line: line.replace(b'"seq":2', b'"seq":true'),
    "a float for a number": lambda line: line.replace(b'"seq":2', b'"seq":2.0'),
    "another version": lambda line: line.replace(b'"v":1', b'"v":2'),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_line_is_refused_naming_its_record(what: str) -> None:
    parts = lines(GOOD)
    changed = HOSTILE[what](parts[3])
    assert changed != parts[3]
    record, _ = refusal(b"".join([*parts[:3], changed, *parts[4:]]))
    assert record == 2


def test_key_told_twice_is_called_that() -> None:
    assert "same key twice" in refusal(GOOD.replace(b'"payload":', b'"payload":1,"payload":', 1))[1]


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("line", [0, END])
def test_hostile_header_or_end_is_refused(what: str, line: int) -> None:
    parts = lines(GOOD)
    other = HOSTILE[what](lines(GOOD)[3])
    refusal(b"".join([*parts[:line], other, *parts[line + 1 :]]))


@pytest.mark.parametrize("data", [b"", b"\n", b"{}\n", b"\n" * 7, b"PK\x03\x04" + bytes(60)])
def test_file_that_is_no_dossier_is_refused(data: bytes) -> None:
    assert refusal(data)[0] is None


def test_two_dossiers_in_one_file_are_refused() -> None:
    assert refusal(GOOD + GOOD)[0] == len(RECORDS)


def test_every_refusal_is_a_sentence() -> None:
    for at in range(0, len(GOOD), 7):
        _, message = refusal(GOOD[:at] + bytes([GOOD[at] ^ 1]) + GOOD[at + 1 :])
        assert message[0].isupper()
        assert message.endswith(".")
        assert "\n" not in message


def test_no_dossier_is_made_of_nothing() -> None:
    with pytest.raises(InvalidInput):
        build_dossier(TENANT, RUN, [], CHECKPOINT)
    with pytest.raises(InvalidInput):
        build_dossier("Not An Id", RUN, RECORDS, CHECKPOINT)
