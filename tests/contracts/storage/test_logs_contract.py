"""What every backend of the port ``Logs`` must do."""

from __future__ import annotations

import asyncio

import pytest

from aos.kernel.errors import InvalidInput, TooLarge
from aos.services.storage import Stale, Storage
from aos.services.storage.limits import MAX_APPEND_BYTES


async def test_a_log_never_appended_to_is_empty(storage: Storage) -> None:
    assert await storage.logs.size("log") == 0
    assert await storage.logs.read("log") == b""
    await storage.logs.delete("log")


async def test_appends_follow_one_another(storage: Storage) -> None:
    size = 0
    for part in (b"one", b"\x00\xff", b"three"):
        size = await storage.logs.append("log", size, part)
    assert size == await storage.logs.size("log") == 10
    assert await storage.logs.read("log") == b"one\x00\xffthree"


async def test_a_part_can_be_read_across_appends(storage: Storage) -> None:
    whole = b""
    for part in (b"abc", b"d", b"efgh"):
        whole = whole + part
        await storage.logs.append("log", len(whole) - len(part), part)
    for offset in range(11):
        assert await storage.logs.read("log", offset) == whole[offset:]
        for limit in range(10):
            assert await storage.logs.read("log", offset, limit) == whole[offset : offset + limit]


@pytest.mark.parametrize("expected", [0, 2, 4, 1000])
async def test_an_append_at_another_size_is_refused_with_the_actual_size(
    storage: Storage, expected: int
) -> None:
    await storage.logs.append("log", 0, b"abc")
    with pytest.raises(Stale) as refusal:
        await storage.logs.append("log", expected, b"x")
    assert refusal.value.details == {"log": "log", "expected": expected, "actual": 3}
    assert await storage.logs.read("log") == b"abc"


async def test_a_first_append_at_another_size_than_zero_is_refused(storage: Storage) -> None:
    with pytest.raises(Stale) as refusal:
        await storage.logs.append("log", 5, b"x")
    assert refusal.value.details == {"log": "log", "expected": 5, "actual": 0}


async def test_of_concurrent_first_appends_exactly_one_wins(storage: Storage) -> None:
    results = await asyncio.gather(
        *[storage.logs.append("log", 0, b"%02d" % n) for n in range(20)], return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["Stale"] * 19 + ["int"]
    winner = next(n for n, result in enumerate(results) if result == 2)
    assert await storage.logs.read("log") == b"%02d" % winner


async def test_concurrent_appends_lose_nothing(storage: Storage) -> None:
    async def append(record: bytes) -> None:
        size = await storage.logs.size("log")
        while True:
            try:
                await storage.logs.append("log", size, record)
            except Stale as stale:
                size = stale.details["actual"]
            else:
                return

    records = [b"<%02d>" % n for n in range(15)]
    await asyncio.gather(*map(append, records))
    whole = await storage.logs.read("log")
    assert sorted(whole[at : at + 4] for at in range(0, len(whole), 4)) == records


async def test_a_deleted_log_begins_again(storage: Storage) -> None:
    await storage.logs.append("log", 0, b"abc")
    await storage.logs.append("other", 0, b"xyz")
    await storage.logs.delete("log")
    assert await storage.logs.size("log") == 0
    assert await storage.logs.append("log", 0, b"d") == 1
    assert await storage.logs.read("log") == b"d"
    assert await storage.logs.read("other") == b"xyz"


async def test_an_append_at_the_limit_is_taken_and_one_above_refused(storage: Storage) -> None:
    with pytest.raises(TooLarge):
        await storage.logs.append("log", 0, bytes(MAX_APPEND_BYTES + 1))
    assert await storage.logs.append("log", 0, bytes(MAX_APPEND_BYTES)) == MAX_APPEND_BYTES
    assert await storage.logs.size("log") == MAX_APPEND_BYTES


async def test_what_cannot_be_appended_or_read_is_refused(storage: Storage) -> None:
    for call in (
        storage.logs.append("log", 0, b""),
        storage.logs.append("log", -1, b"x"),
        storage.logs.read("log", -1),
        storage.logs.read("log", 0, -1),
    ):
        with pytest.raises(InvalidInput):
            await call


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "A", "a.", "x" * 201, "ü"])
async def test_a_bad_name_is_refused(storage: Storage, bad: str) -> None:
    for call in (storage.logs.append(bad, 0, b"x"), storage.logs.size(bad), storage.logs.delete(bad)):
        with pytest.raises(InvalidInput):
            await call
