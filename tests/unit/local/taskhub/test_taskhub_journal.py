"""Group commit, and what a failed write means."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aos.local.taskhub import schema
from aos.local.taskhub.journal import Journal
from aos.local.taskhub.schema import ENTITIES, HISTORY


class Files:
    """A database, the journal that writes it, and what the journal reported."""

    def __init__(self, path: Path) -> None:
        schema.prepare(path)
        self.failures: list[BaseException] = []
        self.writing = schema.connect(path)
        self.reading = schema.connect(path)
        self.journal = Journal(self.writing, self.failures.append)

    def entities(self) -> dict[str, str]:
        return dict(self.reading.execute("SELECT id, state FROM entities"))

    def put(self, key: str, state: str) -> None:
        self.journal.put(ENTITIES, (key, state, 0, None, None))


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[Files]:
    made = Files(tmp_path / "hub.db")
    yield made
    await made.journal.close()
    made.writing.close()
    made.reading.close()


async def test_what_was_flushed_is_on_disk(files: Files) -> None:
    for n in range(200):
        files.put(f"e{n}", str(n))
    await files.journal.flushed()
    assert files.entities() == {f"e{n}": str(n) for n in range(200)}


async def test_the_last_change_of_a_row_in_a_group_stands(files: Files) -> None:
    files.put("kept", "old")
    files.put("kept", "new")
    files.put("gone", "x")
    files.journal.delete(ENTITIES, "gone")
    await files.journal.flushed()
    assert files.entities() == {"kept": "new"}
    files.journal.delete(ENTITIES, "kept")
    files.put("kept", "again")
    await files.journal.flushed()
    assert files.entities() == {"kept": "again"}


async def test_a_history_begun_anew_loses_its_old_turns(files: Files) -> None:
    for turn in range(3):
        files.journal.put(HISTORY, (1, turn, b"old"))
    files.journal.put(HISTORY, (2, 0, b"other"))
    await files.journal.flushed()
    files.journal.put(HISTORY, (1, 3, b"old"))
    files.journal.delete(HISTORY, 1)
    files.journal.put(HISTORY, (1, 0, b"new"))
    await files.journal.flushed()
    rows = files.reading.execute("SELECT no, turn, events FROM history ORDER BY no, turn").fetchall()
    assert rows == [(1, 0, b"new"), (2, 0, b"other")]


async def test_requests_of_one_moment_share_one_commit(files: Files) -> None:
    async def request(n: int) -> None:
        files.put(f"e{n}", "")
        await files.journal.flushed()

    await asyncio.gather(*(request(n) for n in range(100)))
    assert files.journal.committed <= 2


async def test_callbacks_run_only_after_the_commit(files: Files) -> None:
    seen: list[dict[str, str]] = []
    files.put("e", "1")
    files.journal.after(lambda: seen.append(files.entities()))
    assert not seen
    await files.journal.flushed()
    assert seen == [{"e": "1"}]


async def test_a_failed_write_fails_all_who_wait_and_what_came_after_it(files: Files) -> None:
    files.put("before", "1")
    await files.journal.flushed()
    (pages,) = files.writing.execute("PRAGMA page_count").fetchone()
    files.writing.execute(f"PRAGMA max_page_count={pages}")
    files.put("large", "x" * 100_000)
    large = files.journal.flushed()
    await asyncio.sleep(0)
    files.put("built on it", "1")
    later = files.journal.flushed()
    for waiting in (large, later):
        with pytest.raises(sqlite3.Error):
            await waiting
    assert len(files.failures) == 1
    assert files.entities() == {"before": "1"}
    files.put("small", "1")
    await files.journal.flushed()
    assert files.entities() == {"before": "1", "small": "1"}


async def test_a_group_that_is_written_counts_though_the_file_cannot_be_shrunk(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    def forbid_shrinking(action: int, subject: str | None, *_: object) -> int:
        shrinks = action == sqlite3.SQLITE_PRAGMA and subject == "incremental_vacuum"
        return sqlite3.SQLITE_DENY if shrinks else sqlite3.SQLITE_OK

    files.writing.set_authorizer(forbid_shrinking)
    files.put("kept", "1")
    files.journal.shrink()
    await files.journal.flushed()
    assert files.entities() == {"kept": "1"}
    assert not files.failures
    assert "stays in its file" in caplog.text


async def test_a_group_thrown_away_is_never_written(files: Files) -> None:
    files.put("half", "1")
    waiting = files.journal.flushed()
    files.journal.abandon(RuntimeError("broke off"))
    with pytest.raises(RuntimeError):
        await waiting
    files.put("whole", "1")
    await files.journal.flushed()
    assert files.entities() == {"whole": "1"}


async def test_closing_writes_what_is_open(tmp_path: Path) -> None:
    files = Files(tmp_path / "hub.db")
    files.put("last", "1")
    await files.journal.close()
    assert files.entities() == {"last": "1"}
