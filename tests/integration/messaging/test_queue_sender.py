"""The sender that many coroutines share, over the real SDK and the broker."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from types import NoneType

import pytest
from azure.servicebus.aio import ServiceBusClient

from aos.kernel.errors import TooLarge, Unavailable
from aos.kernel.messaging.step_message import AGENT_STEPS, StepMessage
from aos.local.servicebus import Broker, Topology
from aos.services.messaging.sender import QueueSender
from aos.services.messaging.steps import ServiceBusStepQueue

QUEUE = {"Name": AGENT_STEPS, "Properties": {"RequiresDuplicateDetection": True}}
TOPOLOGY = Topology.parse({"UserConfig": {"Namespaces": [{"Name": "aos", "Queues": [QUEUE], "Topics": []}]}})


def message(number: int, send: int = 1) -> StepMessage:
    return StepMessage(f"run{number}", "pay", 1, compensation=False, final=True, deadline=0.0, send=send)


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    running = await Broker.open(None, TOPOLOGY)
    await running.serve()
    yield running
    await running.close()


@pytest.fixture
async def queue(broker: Broker) -> AsyncIterator[ServiceBusStepQueue]:
    sender = ServiceBusStepQueue(lambda: ServiceBusClient.from_connection_string(broker.connection_string))
    yield sender
    await sender.close()


async def received(broker: Broker, count: int) -> list[StepMessage]:
    receiver = broker.receiver(AGENT_STEPS)
    found: list[StepMessage] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            for one in await receiver.receive(count, 1.0):
                found.append(StepMessage.from_json(json.loads(one.body)))
                await receiver.complete(one.lock_token)
    await receiver.close()
    return found


async def test_sends_of_many_coroutines_all_arrive(broker: Broker, queue: ServiceBusStepQueue) -> None:
    sent = [message(number) for number in range(250)]
    await asyncio.gather(*(queue.send(one) for one in sent))
    assert sorted(one.run for one in await received(broker, 250)) == sorted(one.run for one in sent)


async def test_a_flight_larger_than_a_batch_may_be_arrives_and_only_what_is_too_large_itself_is_refused(
    broker: Broker,
) -> None:
    connection = broker.connection_string
    sender = QueueSender(lambda: ServiceBusClient.from_connection_string(connection), AGENT_STEPS)
    sizes = [150_000, 150_000, 300_000, 261_900, 10, 150_000]
    sends = [sender.send("x" * size, str(number)) for number, size in enumerate(sizes)]
    sends.append(sender.send("x" * 300_000, "late", at=time.time() + 3600))
    results = await asyncio.gather(*sends, return_exceptions=True)
    await sender.close()
    assert [type(result) for result in results] == [
        *(NoneType, NoneType, TooLarge, NoneType, NoneType, NoneType, TooLarge)
    ]
    receiver = broker.receiver(AGENT_STEPS)
    received = await receiver.receive(10, 5.0)
    await receiver.close()
    assert [len(one.body) for one in received] == [150_000, 150_000, 261_900, 10, 150_000]


async def test_a_message_sent_twice_arrives_once_and_a_deliberate_resend_again(
    broker: Broker, queue: ServiceBusStepQueue
) -> None:
    await queue.send(message(1))
    await queue.send(message(1))
    await queue.send(message(1).again())
    assert [one.send for one in await received(broker, 2)] == [1, 2]
    receiver = broker.receiver(AGENT_STEPS)
    assert await receiver.receive(1, 0.1) == []
    await receiver.close()


async def test_a_scheduled_message_arrives_not_before_its_time(
    broker: Broker, queue: ServiceBusStepQueue
) -> None:
    at = time.time() + 1.0
    await queue.send(message(1), at=at)
    await received(broker, 1)
    assert time.time() >= at


async def test_a_sender_whose_connection_broke_connects_again(broker: Broker) -> None:
    def connect() -> ServiceBusClient:
        # The SDK's own retries would only make the test wait for a broker that is not there.
        return ServiceBusClient.from_connection_string(broker.connection_string, retry_total=0)

    sender = QueueSender(connect, AGENT_STEPS)
    await sender.send("before", "1")
    port = broker.port
    await broker.close()
    with pytest.raises(Unavailable, match=AGENT_STEPS):
        async with asyncio.timeout(60):
            await sender.send("meanwhile", "2")
    again = await Broker.open(None, TOPOLOGY)
    await again.serve(port=port)
    receiver = again.receiver(AGENT_STEPS)
    try:
        await sender.send("after", "3")
        assert [one.body for one in await receiver.receive(10, 5.0)] == [b"after"]
    finally:
        await sender.close()
        await receiver.close()
        await again.close()


async def test_a_connection_that_cannot_even_be_closed_hangs_nobody(broker: Broker) -> None:
    """What the SDK's client raises at its end is not always an error of Service Bus."""

    class Dead(ServiceBusClient):
        async def close(self) -> None:
            raise RuntimeError("Event loop is closed")

    await broker.close()
    sender = QueueSender(
        lambda: Dead.from_connection_string(broker.connection_string, retry_total=0), AGENT_STEPS
    )
    async with asyncio.timeout(60):
        for number in range(2):
            with pytest.raises(Unavailable, match=AGENT_STEPS):
                await sender.send("in vain", str(number))
        await sender.close()
