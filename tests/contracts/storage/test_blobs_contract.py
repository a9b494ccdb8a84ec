"""What every backend of the port ``Blobs`` must do."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from aos.kernel.errors import Integrity, InvalidInput, NotFound, TooLarge
from aos.services.storage import Ref, Storage
from aos.services.storage.limits import MAX_BLOB_BYTES


@pytest.mark.parametrize("size", [0, 1, 70_000, 9_000_000])
async def test_a_value_is_read_as_it_was_put(storage: Storage, size: int) -> None:
    data = bytes(range(251)) * (size // 251) + b"x" * (size % 251)
    ref = await storage.blobs.put("values", "run-1", data)
    assert ref == Ref(hashlib.sha256(data).hexdigest(), size)
    assert await storage.blobs.get("values", "run-1", ref) == data


async def test_a_value_may_be_put_often_and_at_once(storage: Storage) -> None:
    refs = await asyncio.gather(*[storage.blobs.put("values", "run-1", b"same" * 999) for _ in range(20)])
    assert len(set(refs)) == 1
    assert await storage.blobs.get("values", "run-1", refs[0]) == b"same" * 999


async def test_a_missing_value_is_not_found(storage: Storage) -> None:
    ref = Ref(hashlib.sha256(b"x").hexdigest(), 1)
    with pytest.raises(NotFound):
        await storage.blobs.get("values", "run-1", ref)
    await storage.blobs.put("values", "run-2", b"x")
    with pytest.raises(NotFound) as refusal:
        await storage.blobs.get("values", "run-1", ref)
    assert refusal.value.details == {"owner": "run-1", "sha256": ref.sha256}


async def test_a_size_that_is_not_the_value_s_is_noticed(storage: Storage) -> None:
    ref = await storage.blobs.put("values", "run-1", b"abc")
    with pytest.raises(Integrity):
        await storage.blobs.get("values", "run-1", Ref(ref.sha256, 4))


async def test_a_deleted_value_is_gone_and_may_be_deleted_again(storage: Storage) -> None:
    ref = await storage.blobs.put("values", "run-1", b"abc")
    other = await storage.blobs.put("values", "run-1", b"def")
    await storage.blobs.delete("values", "run-1", ref)
    await storage.blobs.delete("values", "run-1", ref)
    with pytest.raises(NotFound):
        await storage.blobs.get("values", "run-1", ref)
    assert await storage.blobs.get("values", "run-1", other) == b"def"


async def test_deleting_an_owner_removes_its_values_and_no_others(storage: Storage) -> None:
    refs = [await storage.blobs.put("values", "run-1", b"%d" % n) for n in range(40)]
    ref = await storage.blobs.put("values", "run-10", b"0")
    elsewhere = await storage.blobs.put("others", "run-1", b"0")
    await storage.blobs.delete_owner("values", "run-1")
    await storage.blobs.delete_owner("values", "run-1")
    for gone in refs:
        with pytest.raises(NotFound):
            await storage.blobs.get("values", "run-1", gone)
    assert await storage.blobs.get("values", "run-10", ref) == b"0"
    assert await storage.blobs.get("others", "run-1", elsewhere) == b"0"


async def test_deleting_from_a_container_never_written_to_is_fine(storage: Storage) -> None:
    ref = Ref("0" * 64, 1)
    await storage.blobs.delete_owner("nothing", "run-1")
    await storage.blobs.delete("nothing", "run-1", ref)
    with pytest.raises(NotFound):
        await storage.blobs.get("nothing", "run-1", ref)


async def test_an_owner_may_be_written_to_while_it_is_deleted(storage: Storage) -> None:
    async def put(n: int) -> Ref:
        return await storage.blobs.put("values", "run-1", b"%d" % n)

    await asyncio.gather(*[put(n) for n in range(20)])
    await asyncio.gather(
        *[put(n) for n in range(20, 60)], *[storage.blobs.delete_owner("values", "run-1") for _ in range(5)]
    )
    ref = await put(99)
    assert await storage.blobs.get("values", "run-1", ref) == b"99"
    await storage.blobs.delete_owner("values", "run-1")
    with pytest.raises(NotFound):
        await storage.blobs.get("values", "run-1", ref)


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "../x", "A", ".a", "a.", "ü", "x" * 201, "a\n"])
async def test_a_bad_owner_is_refused(storage: Storage, bad: str) -> None:
    with pytest.raises(InvalidInput):
        await storage.blobs.put("values", bad, b"x")
    with pytest.raises(InvalidInput):
        await storage.blobs.delete_owner("values", bad)


@pytest.mark.parametrize("bad", ["", "ab", "Values", "-ab", "ab-", "a--b", "a.b", "..", "a" * 42, "0-logs"])
async def test_a_bad_container_is_refused(storage: Storage, bad: str) -> None:
    with pytest.raises(InvalidInput):
        await storage.blobs.put(bad, "run-1", b"x")


@pytest.mark.parametrize("bad", ["", "0" * 63, "A" * 64, "../../../../" + "0" * 52, "0" * 64 + "\n"])
async def test_a_reference_that_is_no_hash_is_refused(storage: Storage, bad: str) -> None:
    with pytest.raises(InvalidInput):
        await storage.blobs.get("values", "run-1", Ref(bad, 1))
    with pytest.raises(InvalidInput):
        await storage.blobs.delete("values", "run-1", Ref(bad, 1))


async def test_a_value_above_the_limit_is_refused(storage: Storage) -> None:
    with pytest.raises(TooLarge):
        await storage.blobs.put("values", "run-1", bytes(MAX_BLOB_BYTES + 1))
