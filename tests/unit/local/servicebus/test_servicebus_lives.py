"""Random lives of messages, with restarts in between: each ends in exactly one place."""

import random
from pathlib import Path

import pytest

from aos.local.servicebus import Broker, LockLostError, ManualClock, ReceivedMessage, Topology

_PROPERTIES = {"LockDuration": "PT30S", "MaxDeliveryCount": 3, "DeadLetteringOnMessageExpiration": True}
_TOPOLOGY = Topology.parse(
    {"UserConfig": {"Namespaces": [{"Name": "n", "Queues": [{"Name": "q", "Properties": _PROPERTIES}]}]}}
)


class _Life:
    """What a user of the queue knows: what was sent, what is done with, what is held."""

    def __init__(self, seed: int, path: Path) -> None:
        self.random = random.Random(seed)
        self.path = path
        self.clock = ManualClock()
        self.sent = 0
        self.done: set[bytes] = set()
        self.held: list[ReceivedMessage] = []

    async def start(self) -> None:
        self.broker = await Broker.open(self.path, _TOPOLOGY, clock=self.clock)
        self.receiver = self.broker.receiver("q")

    async def restart(self) -> None:
        await self.broker.close()
        await self.start()

    async def send(self) -> None:
        for _ in range(self.random.randint(1, 4)):
            lifetime_s = self.random.choice([None, None, 45.0])
            await self.broker.send("q", str(self.sent).encode(), time_to_live_s=lifetime_s)
            self.sent += 1

    async def receive(self) -> None:
        messages = await self.receiver.receive(self.random.randint(1, 4), 0)
        assert not {message.body for message in messages} & self.done, "a settled message came back"
        self.held += messages

    async def settle(self) -> None:
        if not self.held:
            return
        message = self.held.pop(self.random.randrange(len(self.held)))
        how = self.random.choice(["complete", "complete", "abandon", "renew", "bury"])
        try:
            if how == "complete":
                await self.receiver.complete(message.lock_token)
                self.done.add(message.body)
            elif how == "abandon":
                await self.receiver.abandon(message.lock_token)
            elif how == "renew":
                await self.receiver.renew_lock(message.lock_token)
                self.held.append(message)
            else:
                await self.receiver.dead_letter(message.lock_token, "bury", None)
        except LockLostError:
            assert message.locked_until_utc.timestamp() * 1000 <= self.clock.now_ms()

    async def pass_time(self) -> None:
        self.clock.advance(self.random.choice([1, 10, 29, 31]))

    async def rest(self) -> list[bytes]:
        """Everything that is still there, taken out."""
        self.clock.advance(31)
        bodies = []
        for queue in ("q", "q/$DeadLetterQueue"):
            receiver = self.broker.receiver(queue)
            while messages := await receiver.receive(50, 0):
                bodies += [message.body for message in messages]
                for message in messages:
                    await receiver.complete(message.lock_token)
        return bodies


@pytest.mark.parametrize("seed", range(12))
async def test_every_message_ends_in_exactly_one_place(seed: int, tmp_path: Path):
    life = _Life(seed, tmp_path / "bus.db")
    await life.start()
    steps = [life.send, life.receive, life.receive, life.settle, life.settle, life.settle, life.pass_time]
    for _ in range(120):
        await life.random.choice(steps)()
        if life.random.random() < 0.04:
            await life.restart()
    rest = await life.rest()
    assert sorted([*life.done, *rest], key=int) == [str(number).encode() for number in range(life.sent)]
    await life.restart()
    assert await life.rest() == []
    await life.broker.close()
