"""What is particular to storage on one machine: the file, its lock, its faults."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from aos.kernel.errors import Integrity, InvalidSetting, TooLarge, Unavailable
from aos.services.storage.limits import MAX_APPENDS
from aos.services.storage.local import database, open_local


def connect(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / "storage.db", isolation_level=None)


async def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    async with open_local(tmp_path / "deep" / "folder") as storage:
        row = await storage.rows.insert("things", "p", "k", {"n": 1})
        ref = await storage.blobs.put("values", "run-1", b"data")
        await storage.logs.append("log", 0, b"abc")
    async with open_local(tmp_path / "deep" / "folder") as storage:
        assert await storage.rows.get("things", "p", "k") == row
        assert await storage.blobs.get("values", "run-1", ref) == b"data"
        assert await storage.logs.read("log") == b"abc"


async def test_closing_finishes_the_writes_that_wait(tmp_path: Path) -> None:
    storage = open_local(tmp_path)
    writes = [asyncio.create_task(storage.rows.insert("things", "p", f"k{n}", {})) for n in range(50)]
    await asyncio.sleep(0)  # let each reach the queue
    await storage.close()
    await asyncio.gather(*writes)
    async with open_local(tmp_path) as storage:
        assert len((await storage.rows.list("things", "p")).rows) == 50


async def test_a_refused_write_takes_no_other_of_its_group_along(tmp_path: Path) -> None:
    async with open_local(tmp_path) as storage:
        await storage.rows.insert("things", "p", "k3", {})
        results = await asyncio.gather(
            *[storage.rows.insert_many("things", "p", {f"j{n}": {}, f"k{n}": {}}) for n in range(6)],
            return_exceptions=True,
        )
        assert [result is None for result in results] == [True, True, True, False, True, True]
        keys = [row.key for row in (await storage.rows.list("things", "p")).rows]
        assert keys == ["j0", "j1", "j2", "j4", "j5", "k0", "k1", "k2", "k3", "k4", "k5"]


async def test_a_write_waits_for_another_process_while_reads_go_on(tmp_path: Path) -> None:
    async with open_local(tmp_path) as storage:
        row = await storage.rows.insert("things", "p", "k", {"n": 1})
        other = connect(tmp_path)
        other.execute("BEGIN IMMEDIATE")
        write = asyncio.create_task(storage.rows.upsert("things", "p", "k", {"n": 2}))
        for _ in range(20):
            assert await storage.rows.get("things", "p", "k") == row
        assert not write.done()
        other.execute("COMMIT")
        other.close()
        written = await write
        assert await storage.rows.get("things", "p", "k") == written


async def test_a_lock_that_is_never_released_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.05)
    async with open_local(tmp_path) as storage:
        await storage.rows.insert("things", "p", "k", {"n": 1})
        other = connect(tmp_path)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match=str(tmp_path)):
            await storage.rows.upsert("things", "p", "k", {"n": 2})
        other.close()
        await storage.rows.upsert("things", "p", "k", {"n": 3})


async def test_a_cancelled_write_disturbs_no_other(tmp_path: Path) -> None:
    async with open_local(tmp_path) as storage:
        other = connect(tmp_path)
        other.execute("BEGIN IMMEDIATE")
        writes = [asyncio.create_task(storage.rows.insert("things", "p", f"k{n}", {})) for n in range(9)]
        await asyncio.sleep(0)
        for write in writes[::2]:
            write.cancel()
        other.close()
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert not any(isinstance(result, BaseException) for result in results[1::2])
        keys = {row.key for row in (await storage.rows.list("things", "p")).rows}
        assert {f"k{n}" for n in range(1, 9, 2)} <= keys


def test_one_storage_serves_several_event_loops(tmp_path: Path) -> None:
    storage = open_local(tmp_path)
    for n in range(3):
        asyncio.run(storage.rows.insert("things", "p", f"k{n}", {}))
    page = asyncio.run(storage.rows.list("things", "p"))
    assert len(page.rows) == 3
    asyncio.run(storage.close())


async def test_a_log_takes_as_many_appends_as_in_azure_and_no_more(tmp_path: Path) -> None:
    async with open_local(tmp_path) as storage:
        await storage.logs.append("log", 0, b"x")
        other = connect(tmp_path)
        other.execute("UPDATE logs SET appends = ?", (MAX_APPENDS - 1,))
        other.close()
        await storage.logs.append("log", 1, b"y")
        with pytest.raises(TooLarge):
            await storage.logs.append("log", 2, b"z")
        assert await storage.logs.read("log") == b"xy"


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    await open_local(tmp_path).close()
    other = connect(tmp_path)
    other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(InvalidSetting, match="newer"):
        open_local(tmp_path)
    other = connect(tmp_path)
    assert other.execute("PRAGMA user_version").fetchone() == (99,)
    other.close()


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "storage.db").write_bytes(b"not a database, but long enough to look like a page" * 100)
    with pytest.raises(Integrity, match="damaged"):
        open_local(tmp_path)


async def test_a_damaged_database_is_noticed(tmp_path: Path) -> None:
    async with open_local(tmp_path) as storage:
        await storage.rows.insert_many("things", "p", {f"k{n}": {"x": "y" * 10_000} for n in range(50)})
    file = tmp_path / "storage.db"
    data = file.read_bytes()
    file.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    with pytest.raises(Integrity, match="damaged"):
        await read_all(tmp_path)


async def read_all(folder: Path) -> None:
    async with open_local(folder) as storage:
        await storage.rows.list("things", "p")


async def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InvalidSetting, match="file"):
            open_local(folder)


async def test_a_value_altered_behind_our_back_is_noticed_and_repaired_by_the_next_put(
    tmp_path: Path,
) -> None:
    async with open_local(tmp_path) as storage:
        ref = await storage.blobs.put("values", "run-1", b"data")
        (tmp_path / "blobs/values/run-1" / ref.sha256).write_bytes(b"DATA")
        with pytest.raises(Integrity, match=ref.sha256):
            await storage.blobs.get("values", "run-1", ref)
        await storage.blobs.put("values", "run-1", b"data")
        assert await storage.blobs.get("values", "run-1", ref) == b"data"


async def test_values_that_cannot_be_written_are_unavailable(tmp_path: Path) -> None:
    async with open_local(tmp_path) as storage:
        (tmp_path / "blobs").write_text("in the way")
        with pytest.raises(Unavailable, match=str(tmp_path)):
            await storage.blobs.put("values", "run-1", b"data")


async def test_deleting_an_owner_removes_what_a_crash_left_behind(tmp_path: Path) -> None:
    async with open_local(tmp_path) as storage:
        await storage.blobs.put("values", "run-1", b"data")
        folder = tmp_path / "blobs/values/run-1"
        (folder / ".half-written").write_bytes(b"da")
        await storage.blobs.delete_owner("values", "run-1")
        assert not folder.exists()
