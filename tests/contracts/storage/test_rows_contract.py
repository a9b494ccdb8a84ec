"""What every backend of the port ``Rows`` must do."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from aos.kernel.errors import InvalidInput, TooLarge, Unavailable
from aos.services.storage import AlreadyExists, Row, Stale, Storage
from aos.services.storage.limits import MAX_BATCH_BYTES, MAX_BATCH_ROWS, MAX_PAGE_ROWS, MAX_ROW_BYTES


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"a": 1, "b": [True, None, 1.5, -(2**70)], "c": {"d": {"e": []}}},
        {"text": "Grüße 🚀 你好 \x00\x01\x7f\ufffe\uffff \\ \" ' <&> \r\n\u2028", "ключ": "значение"},
        {"PartitionKey": "x", "odata.etag": "y", "nonce": "z", "v00": "w"},
    ],
)
async def test_a_value_is_read_as_it_was_written(storage: Storage, value: dict[str, Any]) -> None:
    written = await storage.rows.insert("things", "p", "k", value)
    assert written.value == value
    assert await storage.rows.get("things", "p", "k") == written


@pytest.mark.parametrize("key", ["a", "..", "A.b_c~d-9", "x" * 200, "v00"])
async def test_every_legal_name_can_be_used(storage: Storage, key: str) -> None:
    rows = storage.rows
    written = await rows.insert("things", key, key, {"n": 1})
    assert await rows.get("things", key, key) == written
    assert (await rows.list("things", key, prefix=key)).rows == (written,)
    replaced = await rows.replace("things", written, {"n": 2})
    await rows.delete("things", key, key, replaced.etag)
    assert await rows.get("things", key, key) is None


async def test_a_table_never_written_to_is_empty(storage: Storage) -> None:
    assert await storage.rows.get("nothing", "p", "k") is None
    assert (await storage.rows.list("nothing", "p")).rows == ()
    await storage.rows.delete("nothing", "p", "k")
    with pytest.raises(Stale):
        await storage.rows.replace("nothing", Row("p", "k", {}, 'W/"x"'), {})
    with pytest.raises(Stale):
        await storage.rows.delete("nothing", "p", "k", 'W/"x"')


async def test_tables_partitions_and_keys_are_told_apart(storage: Storage) -> None:
    places = [("one", "p", "k"), ("two", "p", "k"), ("one", "q", "k"), ("one", "p", "K"), ("one", "P", "k")]
    for number, place in enumerate(places):
        await storage.rows.insert(*place, {"n": number})
    for number, place in enumerate(places):
        row = await storage.rows.get(*place)
        assert row is not None
        assert row.value == {"n": number}


async def test_a_second_insert_names_the_row_and_changes_nothing(storage: Storage) -> None:
    first = await storage.rows.insert("things", "p", "k", {"n": 1})
    with pytest.raises(AlreadyExists) as refusal:
        await storage.rows.insert("things", "p", "k", {"n": 2})
    assert refusal.value.details == {"table": "things", "partition": "p", "key": "k"}
    assert await storage.rows.get("things", "p", "k") == first


async def test_a_row_is_not_changed_through_the_value_that_was_given(storage: Storage) -> None:
    value = {"list": [1]}
    row = await storage.rows.insert("things", "p", "k", value)
    value["list"].append(2)
    assert row.value == {"list": [1]}


async def test_of_fifty_concurrent_inserts_exactly_one_wins(storage: Storage) -> None:
    results = await asyncio.gather(
        *[storage.rows.insert("things", "p", "k", {"n": n}) for n in range(50)], return_exceptions=True
    )
    won = [result for result in results if isinstance(result, Row)]
    assert len(won) == 1
    assert all(isinstance(result, Row | AlreadyExists) for result in results)
    assert await storage.rows.get("things", "p", "k") == won[0]


async def test_replace_needs_the_current_etag(storage: Storage) -> None:
    first = await storage.rows.insert("things", "p", "k", {"n": 1})
    second = await storage.rows.replace("things", first, {"n": 2})
    assert second.etag != first.etag
    with pytest.raises(Stale) as refusal:
        await storage.rows.replace("things", first, {"n": 3})
    assert refusal.value.details == {"table": "things", "partition": "p", "key": "k"}
    assert await storage.rows.get("things", "p", "k") == second


async def test_replace_drops_what_the_new_value_does_not_have(storage: Storage) -> None:
    large = await storage.rows.insert("things", "p", "k", {"large": "x" * 200_000})
    small = await storage.rows.replace("things", large, {"small": 1})
    assert await storage.rows.get("things", "p", "k") == small


async def test_replace_refuses_a_row_that_is_gone_or_was_made_anew(storage: Storage) -> None:
    row = await storage.rows.insert("things", "p", "k", {"n": 1})
    await storage.rows.delete("things", "p", "k")
    with pytest.raises(Stale):
        await storage.rows.replace("things", row, {"n": 2})
    anew = await storage.rows.insert("things", "p", "k", {"n": 1})
    with pytest.raises(Stale):
        await storage.rows.replace("things", row, {"n": 2})
    assert await storage.rows.get("things", "p", "k") == anew


async def test_concurrent_counting_by_etag_loses_nothing(storage: Storage) -> None:
    rows = storage.rows
    await rows.insert("things", "p", "counter", {"n": 0})

    async def count() -> None:
        while True:
            row = await rows.get("things", "p", "counter")
            assert row is not None
            try:
                await rows.replace("things", row, {"n": row.value["n"] + 1})
            except Stale:
                continue
            return

    await asyncio.gather(*[count() for _ in range(12)])
    row = await rows.get("things", "p", "counter")
    assert row is not None
    assert row.value == {"n": 12}


async def test_upsert_writes_whether_or_not_the_row_is_there(storage: Storage) -> None:
    first = await storage.rows.upsert("things", "p", "k", {"a": 1})
    assert await storage.rows.get("things", "p", "k") == first
    second = await storage.rows.upsert("things", "p", "k", {"b": 2})
    assert await storage.rows.get("things", "p", "k") == second
    with pytest.raises(Stale):
        await storage.rows.replace("things", first, {"c": 3})


async def test_delete_with_an_etag_is_conditional(storage: Storage) -> None:
    first = await storage.rows.insert("things", "p", "k", {"n": 1})
    second = await storage.rows.replace("things", first, {"n": 2})
    with pytest.raises(Stale):
        await storage.rows.delete("things", "p", "k", first.etag)
    assert await storage.rows.get("things", "p", "k") == second
    await storage.rows.delete("things", "p", "k", second.etag)
    assert await storage.rows.get("things", "p", "k") is None
    with pytest.raises(Stale):
        await storage.rows.delete("things", "p", "k", second.etag)


async def test_insert_many_adds_all_rows(storage: Storage) -> None:
    values = {f"k{n:03}": {"n": n} for n in range(MAX_BATCH_ROWS)}
    await storage.rows.insert_many("things", "p", values)
    page = await storage.rows.list("things", "p", limit=MAX_BATCH_ROWS)
    assert {row.key: row.value for row in page.rows} == values


async def test_insert_many_adds_none_if_one_key_is_taken(storage: Storage) -> None:
    taken = await storage.rows.insert("things", "p", "k2", {"n": "first"})
    with pytest.raises(AlreadyExists) as refusal:
        await storage.rows.insert_many("things", "p", {f"k{n}": {"n": n} for n in range(5)})
    assert refusal.value.details == {"table": "things", "partition": "p", "key": "k2"}
    assert (await storage.rows.list("things", "p")).rows == (taken,)


async def test_of_concurrent_transactions_that_share_a_key_one_wins(storage: Storage) -> None:
    results = await asyncio.gather(
        *[
            storage.rows.insert_many("things", "p", {"shared": {"n": n}, f"own{n}": {"n": n}})
            for n in range(8)
        ],
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["AlreadyExists"] * 7 + ["NoneType"]
    winner = results.index(None)
    page = await storage.rows.list("things", "p")
    assert {row.key: row.value for row in page.rows} == {
        "shared": {"n": winner},
        f"own{winner}": {"n": winner},
    }


async def test_insert_many_of_nothing_does_nothing(storage: Storage) -> None:
    await storage.rows.insert_many("things", "p", {})
    assert (await storage.rows.list("things", "p")).rows == ()


async def test_a_transaction_at_the_limit_of_size_is_taken_and_one_above_refused(storage: Storage) -> None:
    count = MAX_BATCH_BYTES // MAX_ROW_BYTES
    full = {f"k{n}": {"x": "y" * (MAX_ROW_BYTES - 8)} for n in range(count)}
    with pytest.raises(TooLarge):
        await storage.rows.insert_many("things", "p", {**full, "one-more": {}})
    assert (await storage.rows.list("things", "p")).rows == ()
    await storage.rows.insert_many("things", "p", full)
    assert [row.key for row in (await storage.rows.list("things", "p")).rows] == list(full)


async def test_more_rows_than_a_transaction_takes_are_refused(storage: Storage) -> None:
    with pytest.raises(TooLarge):
        await storage.rows.insert_many("things", "p", {f"k{n}": {} for n in range(MAX_BATCH_ROWS + 1)})
    assert (await storage.rows.list("things", "p")).rows == ()


async def test_a_row_at_the_limit_of_size_is_taken_and_one_above_refused(storage: Storage) -> None:
    largest = {"x": "y" * (MAX_ROW_BYTES - 8)}
    row = await storage.rows.insert("things", "p", "k", largest)
    assert await storage.rows.get("things", "p", "k") == row
    with pytest.raises(TooLarge):
        await storage.rows.upsert("things", "p", "k", {"x": "y" * (MAX_ROW_BYTES - 7)})
    with pytest.raises(TooLarge):
        await storage.rows.replace("things", row, {"x": "ü" * (MAX_ROW_BYTES // 2)})
    assert await storage.rows.get("things", "p", "k") == row


async def test_keys_are_listed_in_code_point_order(storage: Storage) -> None:
    keys = ["-", ".", "0", "10", "2", "A", "Z", "_", "a", "a-", "a.", "a0", "aA", "a_", "aa", "a~", "z", "~"]
    await storage.rows.insert_many("things", "p", {key: {} for key in reversed(keys)})
    assert [row.key for row in (await storage.rows.list("things", "p")).rows] == keys


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("a", ["a", "a-", "a~", "a~~", "ab"]),
        ("a~", ["a~", "a~~"]),
        ("~", ["~", "~~"]),
        ("b", ["b"]),
        ("c", []),
    ],
)
async def test_a_prefix_selects_keys(storage: Storage, prefix: str, expected: list[str]) -> None:
    keys = ["A", "a", "a-", "ab", "a~", "a~~", "b", "~", "~~"]
    await storage.rows.insert_many("things", "p", {key: {} for key in keys})
    page = await storage.rows.list("things", "p", prefix=prefix)
    assert [row.key for row in page.rows] == sorted(expected)
    assert page.next_key is None


@pytest.mark.parametrize("limit", [1, 3, 4, 12, 13])
async def test_pages_join_without_gap_or_repetition(storage: Storage, limit: int) -> None:
    keys = [f"run-{n:02}" for n in range(12)]
    await storage.rows.insert_many("things", "p", {key: {} for key in [*keys, "other", "zzz"]})
    await storage.rows.insert("things", "q", "run-99", {})
    seen: list[str] = []
    after: str | None = None
    for _ in range(math.ceil(len(keys) / limit)):
        page = await storage.rows.list("things", "p", prefix="run-", after=after, limit=limit)
        seen += [row.key for row in page.rows]
        after = page.next_key
    assert (seen, after) == (keys, None)


@pytest.mark.parametrize("bad", ["", "a/b", "a b", "ü", "a'b", "a\n", "x" * 201, "a\\b", "a#b", "a?b", "%"])
async def test_a_bad_partition_key_or_prefix_is_refused(storage: Storage, bad: str) -> None:
    rows = storage.rows
    calls = [
        rows.insert("things", bad, "k", {}),
        rows.insert("things", "p", bad, {}),
        rows.insert_many("things", "p", {"good": {}, bad: {}}),
        rows.get("things", "p", bad),
        rows.replace("things", Row("p", bad, {}, "x"), {}),
        rows.upsert("things", bad, "k", {}),
        rows.delete("things", "p", bad),
        rows.list("things", bad),
        rows.list("things", "p", after=bad),
        *([rows.list("things", "p", prefix=bad)] if bad else []),
    ]
    for call in calls:
        with pytest.raises(InvalidInput):
            await call
    assert (await rows.list("things", "p")).rows == ()


@pytest.mark.parametrize("bad", ["", "ab", "Things", "1abc", "a_b", "a" * 42, "a-b", "thingsü"])
async def test_a_bad_table_is_refused(storage: Storage, bad: str) -> None:
    with pytest.raises(InvalidInput):
        await storage.rows.insert(bad, "p", "k", {})


@pytest.mark.parametrize(
    "value", [{"n": math.nan}, {"n": math.inf}, {"o": object()}, {"s": "\ud800"}, {"b": b""}]
)
async def test_a_value_that_is_not_json_is_refused(storage: Storage, value: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        await storage.rows.insert("things", "p", "k", value)
    assert await storage.rows.get("things", "p", "k") is None


@pytest.mark.parametrize("limit", [0, -1, MAX_PAGE_ROWS + 1])
async def test_a_bad_limit_is_refused(storage: Storage, limit: int) -> None:
    with pytest.raises(InvalidInput):
        await storage.rows.list("things", "p", limit=limit)


async def test_two_users_of_one_storage_see_each_others_writes(open_storage: Any) -> None:
    async with open_storage() as one, open_storage() as two:
        row = await one.rows.insert("things", "p", "k", {"n": 1})
        assert await two.rows.get("things", "p", "k") == row
        await two.rows.replace("things", row, {"n": 2})
        with pytest.raises(Stale):
            await one.rows.replace("things", row, {"n": 3})


async def test_a_closed_storage_says_so(open_storage: Any) -> None:
    storage = open_storage()
    await storage.rows.insert("things", "p", "k", {})
    await storage.close()
    await storage.close()
    for call in (
        storage.rows.get("things", "p", "k"),
        storage.rows.upsert("things", "p", "k", {}),
        storage.blobs.put("values", "o", b"x"),
        storage.logs.append("log", 0, b"x"),
    ):
        with pytest.raises(Unavailable, match="closed"):
            await call
