"""What the database file comes to when instances are purged, and how old they may get."""

import asyncio
import os
from pathlib import Path

import durabletask.internal.orchestrator_service_pb2 as pb
import pytest
from taskhub_scripted import WAIT_S

from aos.local.taskhub import TaskHub
from aos.local.taskhub.__main__ import main

INPUT = "x" * 1_000_000
COUNT = 40  # more than is given back to the file system with one commit


async def fill_and_end(hub: TaskHub) -> None:
    for number in range(COUNT):
        name = f"i{number}"
        await hub.start_instance(pb.CreateInstanceRequest(instanceId=name, name="o", input={"value": INPUT}))
        await hub.terminate_instance(pb.TerminateRequest(instanceId=name))


async def test_purging_gives_the_space_back(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    hub = await TaskHub.open(path)
    await fill_and_end(hub)
    wal = path.with_name("hub.db-wal")
    assert wal.stat().st_size < 25 * len(INPUT)
    purged = await hub.purge_instances(pb.PurgeInstancesRequest(purgeInstanceFilter=pb.PurgeInstanceFilter()))
    assert purged.deletedInstanceCount == COUNT
    async with asyncio.timeout(WAIT_S):
        while await hub._engine.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0]) > 100:
            await asyncio.sleep(0.01)
    await hub.close()
    assert path.stat().st_size < len(INPUT)


async def test_a_file_that_is_filled_again_and_again_does_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    hub = await TaskHub.open(path)
    sizes = []
    for _ in range(3):
        await fill_and_end(hub)
        await hub.purge_instances(pb.PurgeInstancesRequest(purgeInstanceFilter=pb.PurgeInstanceFilter()))
        sizes.append(path.stat().st_size)
    await hub.close()
    assert max(sizes) <= 1.2 * COUNT * len(INPUT)


@pytest.mark.parametrize("age", ["", "0d", "-1d", "30", "d", "1.5h", "soon", "9999999999d"])
def test_an_age_that_makes_no_sense_is_refused(
    age: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["taskhub", "--db", os.fspath(tmp_path / "hub.db"), f"--retention={age}"])
    with pytest.raises(SystemExit):
        main()
    assert repr(age) in capsys.readouterr().err
