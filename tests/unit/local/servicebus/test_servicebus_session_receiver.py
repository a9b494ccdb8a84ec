"""Sessions received in the broker's own process."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from aos.local.servicebus import Broker, LockLostError, ManualClock, SessionLockLostError, Topology

QUEUE = {"Name": "q", "Properties": {"RequiresSession": True, "LockDuration": "PT1M"}}
TOPOLOGY = {"UserConfig": {"Namespaces": [{"Name": "n", "Queues": [QUEUE]}]}}


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    broker = await Broker.open(None, Topology.parse(TOPOLOGY), clock=ManualClock())
    yield broker
    await broker.close()


async def test_a_session_is_held_by_one_receiver_until_it_is_closed(broker: Broker) -> None:
    first, second = broker.session_receiver("q"), broker.session_receiver("q")
    await broker.send("q", b"1", session_id="s")
    await broker.send("q", b"2", session_id="s")
    assert await first.acquire(5)
    assert first.session_id == "s"
    assert not await second.acquire(0.01)
    (message,) = await first.receive(1, 5)
    await first.close()  # gives back what it holds, uncounted
    assert await second.acquire(5)
    again = await second.receive(5, 5)
    assert [each.body for each in again] == [b"1", b"2"]
    assert [each.delivery_count for each in again] == [0, 0]
    with pytest.raises(LockLostError):
        await first.complete(message.lock_token)
    await second.set_state(b"half way")
    assert second.state() == b"half way"
    await second.close()


async def test_a_session_whose_lock_is_lost_says_so_and_is_for_others(broker: Broker) -> None:
    clock = broker.clock
    assert isinstance(clock, ManualClock)
    holder, next_one = broker.session_receiver("q"), broker.session_receiver("q")
    await broker.send("q", b"1", session_id="s")
    assert await holder.acquire(5)
    (message,) = await holder.receive(1, 5)
    clock.advance(40)
    until = holder.renew_session()
    assert until.timestamp() * 1000 == clock.now_ms() + 60_000
    receiving = asyncio.create_task(holder.receive(1, 5))
    await asyncio.sleep(0)
    clock.advance(60.001)
    assert await receiving == []
    assert not holder.open
    with pytest.raises(SessionLockLostError):
        holder.renew_session()
    with pytest.raises(LockLostError):
        await holder.complete(message.lock_token)
    assert await next_one.acquire(5)
    (again,) = await next_one.receive(1, 5)
    assert again.delivery_count == 1
    await holder.close()  # nothing is taken from the one who holds it now
    await next_one.complete(again.lock_token)
    await next_one.close()


async def test_who_waits_for_a_session_is_let_go_by_close(broker: Broker) -> None:
    waiting = broker.session_receiver("q")
    acquiring = asyncio.create_task(waiting.acquire(60))
    await asyncio.sleep(0)
    await waiting.close()
    assert not await acquiring


async def test_what_is_released_counts_no_delivery_and_what_is_stopped_can_be_settled(broker: Broker) -> None:
    receiver = broker.session_receiver("q")
    await broker.send("q", b"1", session_id="s")
    assert await receiver.acquire(5)
    (message,) = await receiver.receive(1, 5)
    await receiver.release(message.lock_token)
    (message,) = await receiver.receive(1, 5)
    assert message.delivery_count == 0
    receiver.stop()
    await receiver.complete(message.lock_token)
    await receiver.close()
