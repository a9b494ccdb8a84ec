"""A broker with a clock that tests move, and the real azure-servicebus client on it.

Opening a handler costs the SDK half a second, so handlers are opened once a module and shared.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

from aos.local.servicebus import Broker, ManualClock, Topology

DEAD = "/$DeadLetterQueue"


def _rule(name: str, kind: str = "Correlation", **filters: Any) -> dict[str, Any]:
    return {"Name": name, "Properties": {"FilterType": kind, **filters}}


QUEUES: dict[str, dict[str, Any]] = {
    "plain": {"LockDuration": "PT1M", "MaxDeliveryCount": 3},
    "brief": {"DefaultMessageTimeToLive": "PT1H", "DeadLetteringOnMessageExpiration": True},
    "fleeting": {},
    "unread": {},
    "unique": {"RequiresDuplicateDetection": True, "DuplicateDetectionHistoryTimeWindow": "PT5M"},
    "forwarding": {"ForwardTo": "forwarded", "RequiresDuplicateDetection": True},
    "forwarded": {},
    "mortal": {"MaxDeliveryCount": 1, "ForwardDeadLetteredMessagesTo": "forwarded"},
    "audited": {"ForwardDeadLetteredMessagesTo": "failures", "DeadLetteringOnMessageExpiration": True},
    "sessions": {"RequiresSession": True},
    "closed": {"Status": "Disabled"},
    "closing": {"ForwardTo": "closed"},
    "small": {"MaxSizeInMegabytes": 1},
    "raw": {},
    "quick": {"LockDuration": "PT5S"},
    "talks": {"RequiresSession": True, "LockDuration": "PT5S"},
}

SQL = "colour = 'red' AND quantity > 5"
TOPICS = (
    {
        "Name": "events",
        "Subscriptions": [
            {"Name": "all"},
            {"Name": "large-red", "Rules": [_rule("r", "Sql", SqlFilter={"SqlExpression": SQL})]},
            {"Name": "correlated", "Rules": [_rule("c", CorrelationFilter={"CorrelationId": "c"})]},
            {
                "Name": "orders",
                "Rules": [
                    _rule("order", CorrelationFilter={"Label": "order"}),
                    _rule("error", "Sql", SqlFilter={"SqlExpression": "sys.Label LIKE 'ord%x'"}),
                ],
            },
            {"Name": "errors", "Rules": [_rule("e", CorrelationFilter={"Label": "error"})]},
        ],
    },
    {
        "Name": "failures",
        "Subscriptions": [
            {
                "Name": "bad",
                "Rules": [_rule("b", CorrelationFilter={"Properties": {"DeadLetterReason": "bad"}})],
            },
            {"Name": "all"},
        ],
    },
    {"Name": "chats", "Subscriptions": [{"Name": "rooms", "Properties": {"RequiresSession": True}}]},
    {"Name": "ruled", "Subscriptions": [{"Name": "changing"}]},
    {"Name": "acted", "Subscriptions": [{"Name": "acting"}]},
    {
        "Name": "news",
        "Properties": {"RequiresDuplicateDetection": True},
        "Subscriptions": [
            {"Name": "readers"},
            {
                "Name": "desk",
                "Properties": {"ForwardTo": "forwarded"},
                "Rules": [_rule("f", CorrelationFilter={"Label": "flash"})],
            },
        ],
    },
)


def topology(queues: dict[str, dict[str, Any]], topics: tuple[dict[str, Any], ...] = ()) -> Topology:
    entries = [{"Name": name, "Properties": properties} for name, properties in queues.items()]
    namespace = {"Name": "test", "Queues": entries, "Topics": list(topics)}
    return Topology.parse({"UserConfig": {"Namespaces": [namespace]}})


class Bus:
    """The broker under test, its clock, and cached handlers of one real client."""

    def __init__(self, broker: Broker, clock: ManualClock, client: ServiceBusClient):
        self.broker = broker
        self.clock = clock
        self.client = client
        self._handlers: dict[str, Any] = {}

    @classmethod
    def connect(cls, broker: Broker, clock: ManualClock) -> "Bus":
        client = ServiceBusClient.from_connection_string(broker.connection_string, retry_total=0)
        return cls(broker, clock, client)

    async def sender(self, queue: str) -> ServiceBusSender:
        return await self._handler(f"sender {queue}", lambda: self.client.get_queue_sender(queue))

    async def receiver(self, queue: str, **options: Any) -> ServiceBusReceiver:
        key = f"receiver {queue} {sorted(options.items())}"
        return await self._handler(key, lambda: self.client.get_queue_receiver(queue, **options))

    async def topic_sender(self, topic: str) -> ServiceBusSender:
        return await self._handler(f"topic {topic}", lambda: self.client.get_topic_sender(topic))

    async def subscription_receiver(self, topic: str, name: str, **options: Any) -> ServiceBusReceiver:
        key = f"subscription {topic} {name} {sorted(options.items())}"
        return await self._handler(key, lambda: self.client.get_subscription_receiver(topic, name, **options))

    def waiting(self, entity: str) -> list[bytes]:
        return [message.content.body() for message in self.broker.namespace.queue(entity).peek(0, 100)]

    async def dead_letters(self, queue: str) -> list[ServiceBusReceivedMessage]:
        """Take what is in a queue's dead letters."""
        receiver = await self.receiver(queue, sub_queue="deadletter")
        messages = await receiver.receive_messages(20, max_wait_time=3)
        for message in messages:
            await receiver.complete_message(message)
        return messages

    def count(self, queue: str) -> int:
        return self.broker.namespace.queue(queue).message_count

    async def close(self) -> None:
        """The broker first: handlers on dead connections close at once, others in half a second each."""
        await self.broker.close()
        await asyncio.gather(*(handler.close() for handler in self._handlers.values()))
        await self.client.close()

    async def session(self, session_id: str) -> ServiceBusReceiver:
        """A receiver that holds a session until the end of the module."""
        return await self.receiver("sessions", session_id=session_id)

    async def _handler(self, key: str, make: Any) -> Any:
        if key not in self._handlers:
            self._handlers[key] = await make().__aenter__()
        return self._handlers[key]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bus() -> AsyncIterator[Bus]:
    clock = ManualClock()
    broker = await Broker.open(None, topology(QUEUES, TOPICS), clock=clock)
    await broker.serve()
    bus = Bus.connect(broker, clock)
    yield bus
    await bus.close()
