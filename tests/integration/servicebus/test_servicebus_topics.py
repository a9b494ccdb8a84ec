"""The real azure-servicebus client on topics and their subscriptions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage
from servicebus_bus import Bus

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _message(text: str, **options: Any) -> ServiceBusMessage:
    return ServiceBusMessage(text, **options)


async def test_each_subscription_gets_what_its_rules_match(bus: Bus):
    sender = await bus.topic_sender("events")
    await sender.send_messages(
        [
            _message("red 3", subject="order", application_properties={"colour": "red", "quantity": 3}),
            _message("red 9", correlation_id="c", application_properties={"colour": "red", "quantity": 9}),
            _message("blue", subject="order", correlation_id="c", application_properties={"colour": "blue"}),
            _message("bare"),
        ]
    )
    assert bus.waiting("events/Subscriptions/all") == [b"red 3", b"red 9", b"blue", b"bare"]
    assert bus.waiting("events/Subscriptions/large-red") == [b"red 9"]
    assert bus.waiting("events/Subscriptions/correlated") == [b"red 9", b"blue"]
    assert bus.waiting("events/Subscriptions/orders") == [b"red 3", b"blue"]


async def test_a_subscription_is_received_from_and_has_dead_letters(bus: Bus):
    sender = await bus.topic_sender("events")
    receiver = await bus.subscription_receiver("events", "errors")
    await sender.send_messages(_message("oops", subject="error"))
    [message] = await receiver.receive_messages(1, max_wait_time=5)
    assert (str(message), message.enqueued_sequence_number > 0) == ("oops", True)
    await receiver.dead_letter_message(message, reason="r")
    dead_receiver = await bus.subscription_receiver("events", "errors", sub_queue="deadletter")
    [dead] = await dead_receiver.receive_messages(1, max_wait_time=5)
    assert (str(dead), dead.dead_letter_reason) == ("oops", "r")
    await dead_receiver.complete_message(dead)


async def test_a_message_scheduled_on_a_topic_reaches_the_subscriptions_when_its_time_comes(bus: Bus):
    sender = await bus.topic_sender("events")
    receiver = await bus.subscription_receiver("events", "errors")
    due = datetime.fromtimestamp(bus.clock.now_ms() / 1000, UTC) + timedelta(seconds=30)
    await sender.schedule_messages(_message("late", subject="error"), due)
    cancelled = await sender.schedule_messages(_message("never", subject="error"), due)
    await sender.cancel_scheduled_messages(cancelled)
    bus.clock.advance(30)
    messages = await receiver.receive_messages(5, max_wait_time=5)
    assert [str(message) for message in messages] == ["late"]
    await receiver.complete_message(messages[0])


async def test_a_duplicate_on_a_topic_reaches_no_subscription_twice(bus: Bus):
    sender = await bus.topic_sender("news")
    for _ in range(2):
        await sender.send_messages(_message("once", message_id="same"))
    assert bus.waiting("news/Subscriptions/readers") == [b"once"]


async def test_a_subscription_forwards_to_a_queue(bus: Bus):
    sender, receiver = await bus.topic_sender("news"), await bus.receiver("forwarded")
    await sender.send_messages(_message("flash", message_id="f", subject="flash"))
    [message] = await receiver.receive_messages(1, max_wait_time=5)
    assert str(message) == "flash"
    await receiver.complete_message(message)
