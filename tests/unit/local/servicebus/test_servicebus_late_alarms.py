"""A clock that is set forward: locks are over before the alarms that end them have rung."""

import asyncio

from aos.local.servicebus import Broker, ManualClock, Topology


class SettableClock(ManualClock):
    """A clock that can be set without a word to its alarms."""

    def set_forward(self, seconds: float) -> None:
        self._now_ms += round(seconds * 1000)


async def test_a_message_that_comes_under_a_lock_that_is_just_over_waits_for_the_next_receiver():
    properties = {"RequiresSession": True, "LockDuration": "PT20S"}
    queues = [{"Name": "s", "Properties": properties}]
    clock = SettableClock(1_000_000)
    broker = await Broker.open(
        None, Topology.parse({"UserConfig": {"Namespaces": [{"Name": "n", "Queues": queues}]}}), clock=clock
    )
    await broker.send("s", b"first", session_id="a")
    receiver = broker.session_receiver("s")
    assert await receiver.acquire(5)
    assert [message.body for message in await receiver.receive(1, 5)] == [b"first"]
    waiting = asyncio.create_task(receiver.receive(1, 60))
    await asyncio.sleep(0)
    clock.set_forward(21)
    await broker.send("s", b"second", session_id="a")
    clock.advance(0)
    assert await waiting == []
    other = broker.session_receiver("s")
    assert await other.acquire(5)
    assert [message.body for message in await other.receive(2, 5)] == [b"first", b"second"]
    await broker.close()
