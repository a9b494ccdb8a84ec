"""Random lives of messages, with restarts and crashes in between: each ends in exactly one place."""

import random
import shutil
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aos.local.servicebus import Broker, LockLostError, ManualClock, ReceivedMessage, Topology
from aos.local.servicebus.errors import MessageNotFoundError
from aos.local.servicebus.message import State

_PROPERTIES = {"LockDuration": "PT30S", "MaxDeliveryCount": 3, "DeadLetteringOnMessageExpiration": True}
_TOPOLOGY = Topology.parse(
    {"UserConfig": {"Namespaces": [{"Name": "n", "Queues": [{"Name": "q", "Properties": _PROPERTIES}]}]}}
)


class _Life:
    """What a user of the queue knows: what was sent, what is done with, what is held."""

    def __init__(self, seed: int, path: Path) -> None:
        self.random = random.Random(seed)
        self.folder = path
        self.path = path / "0.db"
        self.crashed: list[Broker] = []
        self.clock = ManualClock()
        self.sent = 0
        self.done: set[bytes] = set()
        self.held: list[ReceivedMessage] = []
        self.deferred: list[tuple[int, bytes]] = []

    async def start(self) -> None:
        self.broker = await Broker.open(self.path, _TOPOLOGY, clock=self.clock)
        self.receiver = self.broker.receiver("q")

    async def restart(self) -> None:
        await self.broker.close()
        await self.start()

    async def crash(self) -> None:
        """Go on from what is on disk now, as after `kill -9`."""
        self.crashed.append(self.broker)
        fresh = self.folder / f"{len(self.crashed)}.db"
        await self.broker.journal.submit([])
        for suffix in ("-wal", ""):  # in this order a checkpoint in between does no harm
            shutil.copyfile(f"{self.path}{suffix}", f"{fresh}{suffix}")
        self.broker.namespace.stop()
        self.path = fresh
        await self.start()

    async def close(self) -> None:
        for broker in (self.broker, *self.crashed):
            await broker.close()

    async def send(self) -> None:
        for _ in range(self.random.randint(1, 4)):
            lifetime_s = self.random.choice([None, None, 45.0])
            due_s = self.clock.now_ms() / 1000 + self.random.choice([0, 0, 20])
            await self.broker.send(
                "q",
                str(self.sent).encode(),
                time_to_live_s=lifetime_s,
                scheduled_enqueue_time_utc=datetime.fromtimestamp(due_s, UTC),
            )
            self.sent += 1

    async def receive(self) -> None:
        messages = await self.receiver.receive(self.random.randint(1, 4), 0)
        assert not {message.body for message in messages} & self.done, "a settled message came back"
        self.held += messages

    async def settle(self) -> None:
        if not self.held:
            return
        message = self.held.pop(self.random.randrange(len(self.held)))
        how = self.random.choice(["complete", "complete", "abandon", "renew", "defer", "bury"])
        try:
            if how == "complete":
                await self.receiver.complete(message.lock_token)
                self.done.add(message.body)
            elif how == "abandon":
                await self.receiver.abandon(message.lock_token)
            elif how == "renew":
                await self.receiver.renew_lock(message.lock_token)
                self.held.append(message)
            elif how == "defer":
                await self.receiver.defer(message.lock_token)
                self.deferred.append((message.sequence_number, message.body))
            else:
                await self.receiver.dead_letter(message.lock_token, "bury", None)
        except LockLostError:
            assert message.locked_until_utc.timestamp() * 1000 <= self.clock.now_ms()

    async def take_deferred(self) -> None:
        if not self.deferred:
            return
        number, body = self.deferred.pop(self.random.randrange(len(self.deferred)))
        queue = self.broker.namespace.queue("q")
        try:
            [message] = await queue.receive_deferred([number], remove=False)
        except MessageNotFoundError:  # it has expired
            return
        assert message.content.body() == body
        await self.receiver.complete(str(uuid.UUID(bytes_le=message.lock_token)))
        self.done.add(body)

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
        kept = self.broker.namespace.queue("q")
        deferred = [each.sequence_number for each in kept.peek(0, 999) if each.state is State.DEFERRED]
        bodies += [each.content.body() for each in await kept.receive_deferred(deferred, remove=True)]
        return bodies


@pytest.mark.parametrize("seed", range(12))
async def test_every_message_ends_in_exactly_one_place(seed: int, tmp_path: Path):
    life = _Life(seed, tmp_path)
    await life.start()
    steps = [life.send, life.receive, life.receive, life.settle, life.settle, life.settle, life.pass_time]
    steps.append(life.take_deferred)
    for _ in range(120):
        await life.random.choice(steps)()
        if life.random.random() < 0.06:
            await life.random.choice([life.restart, life.crash])()
    rest = await life.rest()
    assert sorted([*life.done, *rest], key=int) == [str(number).encode() for number in range(life.sent)]
    await life.restart()
    assert await life.rest() == []
    await life.close()
