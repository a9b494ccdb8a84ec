"""A folder of local storage under several processes, killed ones and a full disk among them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from aos.services.storage import Ref
from aos.services.storage.local import open_local

PROGRAM = Path(__file__).with_name("storage_process.py")
ROOT = Path(__file__).parents[4]


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
    )


async def test_several_processes_share_a_folder_and_lose_nothing(tmp_path: Path) -> None:
    names, rounds = "abc", 60
    async with open_local(tmp_path) as storage:
        await storage.rows.insert("things", "p", "counter", {"n": 0})
        processes = [start("share", tmp_path, name, rounds) for name in names]
        won = [int(process.communicate()[0]) for process in processes]
        assert [process.returncode for process in processes] == [0] * len(names)
        counter = await storage.rows.get("things", "p", "counter")
        assert counter is not None
        assert counter.value == {"n": rounds * len(names)}
        log = (await storage.logs.read("log")).decode()
        records = [log[at : at + 7] for at in range(0, len(log), 7)]
        assert sorted(records) == sorted(f"<{name}{n:04}>" for name in names for n in range(rounds))
        assert len((await storage.rows.list("races", "p")).rows) == sum(won) == rounds


async def test_several_processes_may_make_the_folder_at_once(tmp_path: Path) -> None:
    processes = [start("fill", tmp_path / "new", 0) for _ in range(4)]
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0] * 4


async def test_what_was_acknowledged_before_kill_9_is_there(tmp_path: Path) -> None:
    for attempt, lines in enumerate([1, 2, 3, 50, 333, 1000]):
        name = f"run-{attempt}"
        with start("stream", tmp_path, name) as process:
            assert process.stdout is not None
            promises = [process.stdout.readline() for _ in range(lines)]
            process.kill()
            promises += [line for line in process.stdout if line.endswith("\n")]
        await check_promises(tmp_path, name, [line.split() for line in promises])


async def check_promises(folder: Path, name: str, promises: list[list[str]]) -> None:
    sizes: dict[str, int] = {}
    async with open_local(folder) as storage:
        for kind, *promise in promises:
            if kind == "row":
                assert await storage.rows.get("things", name, promise[0]) is not None
            elif kind == "pair":
                assert await storage.rows.get("pairs", name, f"a{promise[0]}") is not None
            elif kind == "log":
                sizes[promise[0]] = int(promise[1])
            else:
                await storage.blobs.get("values", name, Ref(promise[0], int(promise[1])))
        for log in [f"{name}-{lane}" for lane in range(4)]:
            data = await storage.logs.read(log)
            assert len(data) >= sizes.get(log, 0)
            assert len(data) == await storage.logs.size(log)
            assert all(data[at : at + 10].endswith(b">") for at in range(0, len(data), 10))
        pairs = [row.key for row in (await storage.rows.list("pairs", name, limit=1000)).rows]
        assert {key[1:] for key in pairs if key[0] == "a"} == {key[1:] for key in pairs if key[0] == "b"}


async def test_a_full_disk_is_unavailable_and_nothing_is_half_written(tmp_path: Path) -> None:
    lines = start("fill", tmp_path, 2).communicate()[0].splitlines()
    failed = [line.split(maxsplit=2) for line in lines if line.startswith("failed")]
    assert {words[1] for words in failed} == {"rows", "blobs"}
    assert all(str(tmp_path) in words[2] for words in failed)
    rows = {line.split()[1] for line in lines if line.startswith("row")}
    size = max((int(line.split()[1]) for line in lines if line.startswith("log")), default=0)
    assert rows
    async with open_local(tmp_path) as storage:
        assert {row.key for row in (await storage.rows.list("things", "p")).rows} == rows
        assert await storage.logs.size("log") == size
        assert await storage.logs.read("log") == b"z" * size
        await storage.rows.insert("things", "p", "afterwards", {})
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
