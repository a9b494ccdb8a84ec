"""The real azure-servicebus client on a queue that requires sessions."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusMessage
from azure.servicebus.aio import ServiceBusReceiver
from azure.servicebus.exceptions import (
    MessageNotFoundError,
    OperationTimeoutError,
    ServiceBusError,
    SessionCannotBeLockedError,
    SessionLockLostError,
)
from servicebus_bus import Bus, topology

from aos.local.servicebus import Broker, ManualClock

pytestmark = pytest.mark.asyncio(loop_scope="module")
QUEUE = "sessions"


def _session(bus: Bus, session_id: Any = NEXT_AVAILABLE_SESSION, **options: Any) -> ServiceBusReceiver:
    return bus.client.get_queue_receiver(QUEUE, session_id=session_id, **options)


async def _send(bus: Bus, session_id: str, *texts: str) -> None:
    sender = await bus.sender(QUEUE)
    await sender.send_messages([ServiceBusMessage(text, session_id=session_id) for text in texts])


async def _receive(receiver: ServiceBusReceiver, count: int) -> list[Any]:
    messages: list[Any] = []
    while len(messages) < count:
        batch = await receiver.receive_messages(count - len(messages), max_wait_time=5)
        assert batch
        messages += batch
    return messages


async def test_a_named_session_gives_its_own_messages_in_order(bus: Bus):
    await _send(bus, "a", "a1", "a2")
    await _send(bus, "b", "b1")
    receiver = await bus.session("a")
    messages = await _receive(receiver, 2)
    assert [str(message) for message in messages] == ["a1", "a2"]
    assert {message.session_id for message in messages} == {"a"}
    for message in messages:
        await receiver.complete_message(message)
    async with _session(bus) as receiver:
        assert receiver.session.session_id == "b"
        [message] = await _receive(receiver, 1)
        await receiver.complete_message(message)
    assert bus.count(QUEUE) == 0


async def test_a_session_is_held_by_one_receiver_and_keeps_its_state(bus: Bus):
    async with _session(bus, "s") as receiver:
        with pytest.raises(SessionCannotBeLockedError):
            await _session(bus, "s").receive_messages(1, max_wait_time=1)
        assert await receiver.session.get_state() is None
        await receiver.session.set_state("progress")
        assert await receiver.session.get_state() == b"progress"
        until = await receiver.session.renew_lock()
        assert until == datetime.fromtimestamp(bus.clock.now_ms() / 1000, UTC) + timedelta(minutes=1)
    assert [each async for each in bus.client.list_queue_sessions(QUEUE)] == ["s"]
    receiver = await bus.session("s")
    assert await receiver.session.get_state() == b"progress"
    await receiver.session.set_state(None)
    assert bus.broker.namespace.queue(QUEUE).session_ids(None) == []


async def test_closing_a_session_gives_back_its_messages_uncounted(bus: Bus):
    await _send(bus, "c", "c1")
    async with _session(bus, "c") as receiver:
        await _receive(receiver, 1)
    receiver = await bus.session("c")
    [message] = await _receive(receiver, 1)
    assert message.delivery_count == 0
    await receiver.complete_message(message)


async def test_a_session_lock_that_expires_is_lost_and_its_messages_come_again_counted(bus: Bus):
    await _send(bus, "d", "d1")
    receiver = _session(bus, "d")
    [message] = await _receive(receiver, 1)
    bus.clock.advance(61)
    with pytest.raises((SessionLockLostError, ServiceBusError)):
        await receiver.complete_message(message)
    second = await bus.session("d")
    [again] = await _receive(second, 1)
    assert again.delivery_count == 1
    await second.complete_message(again)
    assert bus.count(QUEUE) == 0


async def test_the_state_of_a_session_is_its_holders_alone(bus: Bus):
    await _send(bus, "h", "h1")
    holder = await bus.session("h")
    [message] = await _receive(holder, 1)
    await holder.defer_message(message)
    await holder.session.set_state("mine")
    async with _session(bus, "i") as other:
        with pytest.raises(MessageNotFoundError):
            await other.receive_deferred_messages(message.sequence_number)
        other.session._session_id = "h"  # as a receiver that has not noticed its loss
        with pytest.raises(SessionLockLostError, match="locked by another receiver"):
            await other.session.set_state("stolen")
    assert await holder.session.get_state() == b"mine"
    await holder.session.set_state(None)
    [deferred] = await holder.receive_deferred_messages(message.sequence_number)
    await holder.complete_message(deferred)


async def test_a_wait_for_a_session_ends_with_a_timeout(bus: Bus):
    receiver = _session(bus, max_wait_time=0.5)
    with pytest.raises(OperationTimeoutError):
        await receiver.receive_messages(1)
    await receiver.close()  # or its link might still wait, and take a session from another test


async def test_sessions_are_asked_for_where_they_are_required_and_only_there(bus: Bus):
    sender = await bus.sender(QUEUE)
    with pytest.raises(ServiceBusError, match="no session id"):
        await sender.send_messages(ServiceBusMessage("none"))
    with pytest.raises(ServiceBusError, match="requires sessions"):
        await bus.client.get_queue_receiver(QUEUE).receive_messages(1, max_wait_time=1)
    with pytest.raises(ServiceBusError, match="no sessions"):
        await bus.client.get_queue_receiver("plain", session_id="x").receive_messages(1, max_wait_time=1)


async def test_dead_letters_of_a_session_are_received_without_one(bus: Bus):
    await _send(bus, "e", "e1")
    receiver = await bus.session("e")
    [message] = await _receive(receiver, 1)
    await receiver.dead_letter_message(message, reason="r")
    [dead] = await bus.dead_letters(QUEUE)
    assert (str(dead), dead.session_id, dead.dead_letter_reason) == ("e1", "e", "r")


async def test_a_deferred_message_of_a_session_is_received_under_its_lock(bus: Bus):
    await _send(bus, "f", "f1")
    receiver = await bus.session("f")
    [message] = await _receive(receiver, 1)
    await receiver.defer_message(message)
    [deferred] = await receiver.receive_deferred_messages(message.sequence_number)
    await receiver.complete_message(deferred)
    assert bus.count(QUEUE) == 0


async def test_a_restart_keeps_the_states_of_sessions(tmp_path: Path):
    clock = ManualClock()
    queues = topology({QUEUE: {"RequiresSession": True}})
    broker = await Broker.open(tmp_path / "bus.db", queues, clock=clock)
    await broker.send(QUEUE, b"x", session_id="g")
    await broker.serve()
    bus = Bus.connect(broker, clock)
    receiver = await bus.session("g")
    await _receive(receiver, 1)
    await receiver.session.set_state("kept")
    await bus.close()
    broker = await Broker.open(tmp_path / "bus.db", queues, clock=clock)
    await broker.serve()
    bus = Bus.connect(broker, clock)
    receiver = await bus.session("g")
    assert await receiver.session.get_state() == b"kept"
    [message] = await _receive(receiver, 1)
    assert (str(message), message.delivery_count) == ("x", 0)
    await bus.close()
