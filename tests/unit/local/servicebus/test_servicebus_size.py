"""What the database file comes to when queues are filled and drained."""

import asyncio
from pathlib import Path

from aos.local.servicebus import Broker, Topology

_BODY = bytes(200_000)
_COUNT = 30
_TOPOLOGY = Topology.parse({"UserConfig": {"Namespaces": [{"Name": "n", "Queues": [{"Name": "q"}]}]}})


async def _fill(broker: Broker) -> None:
    await asyncio.gather(*(broker.send("q", _BODY) for _ in range(_COUNT)))


async def _drain(broker: Broker) -> None:
    receiver = broker.receiver("q")
    while messages := await receiver.receive(_COUNT, 0):
        await asyncio.gather(*(receiver.complete(message.lock_token) for message in messages))
    await receiver.close()


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in path.parent.glob(path.name + "*"))


async def test_draining_gives_the_space_back(tmp_path: Path):
    path = tmp_path / "bus.db"
    broker = await Broker.open(path, _TOPOLOGY)
    await _fill(broker)
    assert _size(path) > _COUNT * len(_BODY)
    await _drain(broker)
    async with asyncio.timeout(20):
        while _size(path) > 2_000_000:
            await asyncio.sleep(0.05)
    await broker.send("q", b"after")
    await broker.close()
    broker = await Broker.open(path, _TOPOLOGY)
    assert [each.content.body() for each in broker.namespace.queue("q").peek(0, 9)] == [b"after"]
    await broker.close()


async def test_a_file_that_is_filled_again_and_again_does_not_grow(tmp_path: Path):
    path = tmp_path / "bus.db"
    broker = await Broker.open(path, _TOPOLOGY)
    sizes = []
    for _ in range(3):
        await _fill(broker)
        await _drain(broker)
        sizes.append(path.stat().st_size)
    await broker.close()
    assert max(sizes) <= 1.2 * _COUNT * len(_BODY)
