"""The real azure-servicebus client on a queue: send, receive, settle."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusReceiveMode
from azure.servicebus.amqp import AmqpAnnotatedMessage
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessageNotFoundError,
    MessageSizeExceededError,
    MessagingEntityDisabledError,
    ServiceBusError,
    ServiceBusQuotaExceededError,
)
from servicebus_bus import DEAD, Bus

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_message_arrives_with_its_properties(bus: Bus):
    sender, receiver = await bus.sender("plain"), await bus.receiver("plain")
    await sender.send_messages(
        ServiceBusMessage(
            b"\x00body\xff",
            message_id="m-1",
            correlation_id="c-1",
            subject="greeting",
            content_type="application/octet-stream",
            reply_to="answers",
            to="somewhere",
            partition_key="p",
            time_to_live=timedelta(minutes=30),
            application_properties={"text": "ä", "number": 7, "flag": True, "real": 1.5},
        )
    )
    [message] = await receiver.receive_messages(1, max_wait_time=5)
    assert b"".join(message.body) == b"\x00body\xff"
    assert (message.message_id, message.correlation_id, message.subject) == ("m-1", "c-1", "greeting")
    assert (message.content_type, message.reply_to) == ("application/octet-stream", "answers")
    assert (message.to, message.partition_key) == ("somewhere", "p")
    assert message.time_to_live == timedelta(minutes=30)
    properties = {b"text": "ä".encode(), b"number": 7, b"flag": True, b"real": 1.5}
    assert message.application_properties == properties
    assert message.delivery_count == 0
    assert message.enqueued_time_utc == datetime.fromtimestamp(bus.clock.now_ms() / 1000, UTC)
    assert message.locked_until_utc - message.enqueued_time_utc == timedelta(minutes=1)
    assert message.expires_at_utc - message.enqueued_time_utc == timedelta(minutes=30)
    await receiver.complete_message(message)
    assert bus.count("plain") == 0


async def test_an_annotated_message_arrives_with_all_its_sections(bus: Bus):
    sender, receiver = await bus.sender("plain"), await bus.receiver("plain")
    given = AmqpAnnotatedMessage(
        value_body={b"key": [-123, b"data", False]},
        header={"priority": 10},
        annotations={"seen": 2},
        delivery_annotations={"hop": 3},
        footer={"checked": 6},
    )
    await sender.send_messages(given)
    [message] = await receiver.receive_messages(1, max_wait_time=5)
    raw = message.raw_amqp_message
    assert (raw.body, raw.header.priority) == ({b"key": [-123, b"data", False]}, 10)
    assert (raw.annotations[b"seen"], raw.footer) == (2, {b"checked": 6})
    assert raw.delivery_annotations == {b"hop": 3, b"x-opt-lock-token": message.lock_token}
    [peeked] = await receiver.peek_messages(1, sequence_number=message.sequence_number)
    assert not peeked.raw_amqp_message.delivery_annotations
    await receiver.complete_message(message)


async def test_messages_come_in_the_order_in_which_they_were_sent(bus: Bus):
    sender, receiver = await bus.sender("plain"), await bus.receiver("plain")
    await sender.send_messages([ServiceBusMessage(str(number)) for number in range(50)])
    got: list[str] = []
    while len(got) < 50:
        messages = await receiver.receive_messages(20, max_wait_time=5)
        got += [str(message) for message in messages]
        for message in messages:
            await receiver.complete_message(message)
    assert got == [str(number) for number in range(50)]
    assert bus.count("plain") == 0


async def test_an_abandoned_message_comes_again_with_a_higher_delivery_count_then_is_dead_lettered(bus: Bus):
    sender, receiver = await bus.sender("plain"), await bus.receiver("plain")
    await sender.send_messages(ServiceBusMessage("poison", application_properties={"kept": 1}))
    for attempt in range(3):
        [message] = await receiver.receive_messages(1, max_wait_time=5)
        assert message.delivery_count == attempt
        await receiver.abandon_message(message)
    [dead] = await bus.dead_letters("plain")
    assert dead.dead_letter_reason == "MaxDeliveryCountExceeded"
    assert "3 delivery attempts" in (dead.dead_letter_error_description or "")
    assert dead.application_properties[b"kept"] == 1
    assert dead.sequence_number == message.sequence_number
    assert bus.count("plain") == bus.count("plain" + DEAD) == 0


async def test_a_dead_letter_says_why(bus: Bus):
    sender, receiver = await bus.sender("plain"), await bus.receiver("plain")
    await sender.send_messages(ServiceBusMessage("bad"))
    [message] = await receiver.receive_messages(1, max_wait_time=5)
    await receiver.dead_letter_message(message, reason="unreadable", error_description="it is bad")
    [dead] = await bus.dead_letters("plain")
    assert (dead.dead_letter_reason, dead.dead_letter_error_description) == ("unreadable", "it is bad")
    assert str(dead) == "bad"


async def test_a_deferred_message_is_received_by_its_sequence_number_only(bus: Bus):
    sender, receiver = await bus.sender("plain"), await bus.receiver("plain")
    await sender.send_messages(ServiceBusMessage("later"))
    [message] = await receiver.receive_messages(1, max_wait_time=5)
    await receiver.defer_message(message)
    assert await receiver.receive_messages(1, max_wait_time=0.3) == []
    [peeked] = await receiver.peek_messages(1, sequence_number=message.sequence_number)
    assert peeked.state == 1
    [deferred] = await receiver.receive_deferred_messages(message.sequence_number)
    assert str(deferred) == "later"
    with pytest.raises(MessageNotFoundError):
        await receiver.receive_deferred_messages(message.sequence_number)
    await receiver.complete_message(deferred)
    with pytest.raises(MessageNotFoundError):
        await receiver.receive_deferred_messages(message.sequence_number)
    assert bus.count("plain") == 0


async def test_a_lock_that_expires_gives_the_message_to_the_next_receiver(bus: Bus):
    sender, receiver = await bus.sender("plain"), await bus.receiver("plain")
    await sender.send_messages(ServiceBusMessage("slow"))
    [first] = await receiver.receive_messages(1, max_wait_time=5)
    bus.clock.advance(61)
    [second] = await receiver.receive_messages(1, max_wait_time=5)
    assert second.delivery_count == 1
    with pytest.raises(MessageLockLostError):
        await receiver.complete_message(first)
    await receiver.complete_message(second)
    assert bus.count("plain") == 0


async def test_a_renewed_lock_holds_past_its_first_end(bus: Bus):
    sender, receiver = await bus.sender("plain"), await bus.receiver("plain")
    await sender.send_messages(ServiceBusMessage("long"))
    [message] = await receiver.receive_messages(1, max_wait_time=5)
    bus.clock.advance(40)
    until = await receiver.renew_message_lock(message)
    assert until == datetime.fromtimestamp(bus.clock.now_ms() / 1000, UTC) + timedelta(minutes=1)
    bus.clock.advance(40)
    assert await receiver.receive_messages(1, max_wait_time=0.2) == []
    await receiver.complete_message(message)
    assert bus.count("plain") == 0


async def test_a_lost_lock_cannot_be_renewed(bus: Bus):
    sender, receiver = await bus.sender("plain"), await bus.receiver("plain")
    await sender.send_messages(ServiceBusMessage("lost"))
    [message] = await receiver.receive_messages(1, max_wait_time=5)
    bus.clock.advance(61)
    with pytest.raises(MessageLockLostError):
        await receiver.renew_message_lock(message)
    [again] = await receiver.receive_messages(1, max_wait_time=5)
    await receiver.complete_message(again)


async def test_receive_and_delete_leaves_nothing_behind(bus: Bus):
    sender = await bus.sender("fleeting")
    receiver = await bus.receiver("fleeting", receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE)
    await sender.send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
    got: list[str] = []
    while len(got) < 2:
        got += [str(message) for message in await receiver.receive_messages(2, max_wait_time=5)]
    assert got == ["a", "b"]
    assert bus.count("fleeting") == 0


async def test_peek_shows_messages_in_any_state_without_locking_them(bus: Bus):
    sender, receiver = await bus.sender("plain"), await bus.receiver("plain")
    await sender.send_messages([ServiceBusMessage(str(number)) for number in range(3)])
    first = bus.broker.namespace.queue("plain").peek(1, 1)[0].sequence_number
    peeked = await receiver.peek_messages(10, sequence_number=first)
    assert [str(message) for message in peeked] == ["0", "1", "2"]
    assert [str(message) for message in await receiver.peek_messages(1, sequence_number=first + 1)] == ["1"]
    messages = await receiver.receive_messages(3, max_wait_time=5)
    assert len(messages) == 3
    assert len(await receiver.peek_messages(10, sequence_number=first)) == 3
    for message in messages:
        await receiver.complete_message(message)
    assert await receiver.peek_messages(10, sequence_number=first) == []


async def test_a_scheduled_message_comes_when_its_time_comes(bus: Bus):
    sender, receiver = await bus.sender("plain"), await bus.receiver("plain")
    due = datetime.fromtimestamp(bus.clock.now_ms() / 1000, UTC) + timedelta(seconds=30)
    [number] = await sender.schedule_messages(ServiceBusMessage("future"), due)
    assert await receiver.receive_messages(1, max_wait_time=0.3) == []
    [peeked] = await receiver.peek_messages(1, sequence_number=number)
    assert peeked.state == 2
    bus.clock.advance(30)
    [message] = await receiver.receive_messages(1, max_wait_time=5)
    assert str(message) == "future"
    assert message.sequence_number > number
    assert message.enqueued_time_utc == due
    await receiver.complete_message(message)


async def test_a_message_sent_with_a_scheduled_time_waits_too(bus: Bus):
    sender, receiver = await bus.sender("plain"), await bus.receiver("plain")
    due = datetime.fromtimestamp(bus.clock.now_ms() / 1000, UTC) + timedelta(seconds=10)
    await sender.send_messages(ServiceBusMessage("future", scheduled_enqueue_time_utc=due))
    assert await receiver.receive_messages(1, max_wait_time=0.3) == []
    bus.clock.advance(10)
    [message] = await receiver.receive_messages(1, max_wait_time=5)
    await receiver.complete_message(message)


async def test_a_cancelled_schedule_never_comes_and_cannot_be_cancelled_twice(bus: Bus):
    sender = await bus.sender("plain")
    due = datetime.fromtimestamp(bus.clock.now_ms() / 1000, UTC) + timedelta(seconds=30)
    numbers = await sender.schedule_messages([ServiceBusMessage("a"), ServiceBusMessage("b")], due)
    await sender.cancel_scheduled_messages(numbers)
    assert bus.count("plain") == 0
    with pytest.raises(ServiceBusError):
        await sender.cancel_scheduled_messages(numbers)
    bus.clock.advance(31)
    assert bus.count("plain") == 0


async def test_an_expired_message_is_dead_lettered_where_the_queue_says_so(bus: Bus):
    sender = await bus.sender("brief")
    await sender.send_messages(ServiceBusMessage("old", time_to_live=timedelta(seconds=20)))
    bus.clock.advance(21)
    assert bus.count("brief") == 0
    [dead] = await bus.dead_letters("brief")
    assert dead.dead_letter_reason == "TTLExpiredException"


async def test_an_expired_message_is_gone_where_the_queue_does_not_keep_it(bus: Bus):
    sender = await bus.sender("unread")
    await sender.send_messages(ServiceBusMessage("old", time_to_live=timedelta(seconds=20)))
    bus.clock.advance(21)
    assert bus.count("unread") == bus.count("unread" + DEAD) == 0


async def test_the_queues_default_time_to_live_bounds_the_messages(bus: Bus):
    sender, receiver = await bus.sender("brief"), await bus.receiver("brief")
    await sender.send_messages(ServiceBusMessage("x", time_to_live=timedelta(hours=5)))
    [message] = await receiver.receive_messages(1, max_wait_time=5)
    assert message.time_to_live == timedelta(hours=1)
    await receiver.complete_message(message)


async def test_a_locked_message_expires_only_when_it_is_given_back(bus: Bus):
    sender, receiver = await bus.sender("brief"), await bus.receiver("brief")
    await sender.send_messages(ServiceBusMessage("held", time_to_live=timedelta(seconds=20)))
    [message] = await receiver.receive_messages(1, max_wait_time=5)
    bus.clock.advance(25)
    assert bus.count("brief") == 1
    await receiver.abandon_message(message)
    assert [dead.dead_letter_reason for dead in await bus.dead_letters("brief")] == ["TTLExpiredException"]


async def test_a_message_id_is_accepted_once_within_the_window(bus: Bus):
    sender = await bus.sender("unique")
    await sender.send_messages(ServiceBusMessage("1", message_id="same"))
    await sender.send_messages(ServiceBusMessage("2", message_id="same"))
    await sender.send_messages(
        [ServiceBusMessage("3", message_id="same"), ServiceBusMessage("4", message_id="other")]
    )
    peeked = bus.broker.namespace.queue("unique").peek(0, 10)
    assert [message.content.body() for message in peeked] == [b"1", b"4"]
    bus.clock.advance(301)
    await sender.send_messages(ServiceBusMessage("5", message_id="same"))
    assert bus.count("unique") == 3


async def test_a_message_above_256_kib_is_refused_and_the_link_goes_on(bus: Bus):
    sender, receiver = await bus.sender("plain"), await bus.receiver("plain")
    with pytest.raises(MessageSizeExceededError):
        await sender.send_messages(ServiceBusMessage(b"x" * (256 * 1024 + 1)))
    with pytest.raises(MessageSizeExceededError):
        await sender.send_messages(ServiceBusMessage(b"x" * (3 * 1024 * 1024)))
    large = b"y" * (250 * 1024)
    await sender.send_messages(ServiceBusMessage(large))
    [message] = await receiver.receive_messages(1, max_wait_time=5)
    assert b"".join(message.body) == large
    await receiver.complete_message(message)


async def test_a_batch_holds_as_much_as_a_message_may(bus: Bus):
    sender = await bus.sender("fleeting")
    batch = await sender.create_message_batch()
    assert batch.max_size_in_bytes == 256 * 1024
    for _ in range(2):
        batch.add_message(ServiceBusMessage(b"z" * 110_000))
    with pytest.raises(MessageSizeExceededError):
        batch.add_message(ServiceBusMessage(b"z" * 110_000))
    await sender.send_messages(batch)
    with pytest.raises(MessageSizeExceededError):
        await sender.send_messages([ServiceBusMessage(b"z" * 110_000) for _ in range(3)])
    assert bus.count("fleeting") == 2
    receiver = await bus.receiver("fleeting", receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE)
    while bus.count("fleeting"):
        await receiver.receive_messages(9, max_wait_time=1)


async def test_competing_receivers_share_the_messages_and_get_each_once(bus: Bus):
    sender = await bus.sender("plain")
    receivers = [bus.client.get_queue_receiver("plain", prefetch_count=5) for _ in range(2)]
    await asyncio.gather(*(receiver.__aenter__() for receiver in receivers))
    await sender.send_messages([ServiceBusMessage(str(number)) for number in range(40)])
    seen: list[str] = []

    async def drain(receiver):
        mine = 0
        while bus.count("plain"):
            for message in await receiver.receive_messages(5, max_wait_time=0.5):
                seen.append(str(message))
                mine += 1
                await receiver.complete_message(message)
        return mine

    shares = await asyncio.gather(*map(drain, receivers))
    assert sorted(seen, key=int) == [str(number) for number in range(40)]
    assert all(share > 0 for share in shares)
    await asyncio.gather(*(receiver.close() for receiver in receivers))


async def test_closing_a_receiver_gives_back_what_it_had_prefetched(bus: Bus):
    sender = await bus.sender("plain")
    await sender.send_messages([ServiceBusMessage(str(number)) for number in range(4)])
    async with bus.client.get_queue_receiver("plain", prefetch_count=10) as hoarder:
        [one] = await hoarder.receive_messages(1, max_wait_time=5)
        await hoarder.complete_message(one)
    receiver = await bus.receiver("plain")
    got = []
    while len(got) < 3:
        messages = await receiver.receive_messages(3, max_wait_time=5)
        assert messages
        got += messages
        for message in messages:
            await receiver.complete_message(message)
    assert [message.delivery_count for message in got] == [0, 0, 0]


async def test_messages_sent_to_a_forwarding_queue_arrive_in_its_target(bus: Bus):
    sender, receiver = await bus.sender("forwarding"), await bus.receiver("forwarded")
    await sender.send_messages(
        [ServiceBusMessage("a", message_id="1"), ServiceBusMessage("a", message_id="1")]
    )
    [message] = await receiver.receive_messages(5, max_wait_time=5)
    assert message.enqueued_sequence_number == 1
    await receiver.complete_message(message)
    assert bus.count("forwarding") == bus.count("forwarded") == 0


async def test_dead_letters_are_forwarded_to_a_queue_with_the_reason_and_source(bus: Bus):
    sender, source = await bus.sender("mortal"), await bus.receiver("mortal")
    target = await bus.receiver("forwarded")
    await sender.send_messages([ServiceBusMessage("bury"), ServiceBusMessage("exhaust")])
    buried, exhausted = await source.receive_messages(2, max_wait_time=5)
    await source.dead_letter_message(buried, reason="why", error_description="because")
    await source.abandon_message(exhausted)
    first, second = await target.receive_messages(2, max_wait_time=5)
    assert (str(first), first.dead_letter_reason, first.dead_letter_error_description) == (
        "bury",
        "why",
        "because",
    )
    assert (str(second), second.dead_letter_reason) == ("exhaust", "MaxDeliveryCountExceeded")
    assert [message.dead_letter_source for message in (first, second)] == ["mortal"] * 2
    assert first.enqueued_sequence_number == buried.sequence_number
    assert (first.delivery_count, bus.count("mortal"), bus.count("mortal" + DEAD)) == (0, 0, 0)
    await target.complete_message(first)
    await target.dead_letter_message(second, reason="again")
    [dead] = await bus.dead_letters("forwarded")
    assert (dead.dead_letter_reason, dead.dead_letter_source) == ("again", "forwarded")


async def test_dead_letters_are_forwarded_to_a_topic_whose_rules_see_the_reason(bus: Bus):
    sender, source = await bus.sender("audited"), await bus.receiver("audited")
    await sender.send_messages(ServiceBusMessage("expire", time_to_live=timedelta(seconds=5)))
    bus.clock.advance(5)
    await sender.send_messages(ServiceBusMessage("bury"))
    [message] = await source.receive_messages(1, max_wait_time=5)
    await source.dead_letter_message(message, reason="bad")
    assert bus.waiting("failures/Subscriptions/all") == [b"expire", b"bury"]
    assert bus.waiting("failures/Subscriptions/bad") == [b"bury"]
    assert bus.count("audited" + DEAD) == 0


async def test_a_full_queue_and_a_disabled_one_have_their_own_errors(bus: Bus):
    small = await bus.sender("small")
    large = ServiceBusMessage(b"x" * 250_000)
    for _ in range(4):
        await small.send_messages(large)
    with pytest.raises(ServiceBusQuotaExceededError, match="small is full"):
        await small.send_messages(large)
    with pytest.raises(ServiceBusQuotaExceededError):
        await small.schedule_messages(large, datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(MessagingEntityDisabledError):
        await bus.client.get_queue_sender("closed").send_messages(large)
    with pytest.raises(MessagingEntityDisabledError):
        await bus.client.get_queue_receiver("closed").receive_messages(1, max_wait_time=1)


async def test_a_message_that_cannot_be_forwarded_is_in_the_transfer_dead_letters(bus: Bus):
    sender = await bus.sender("closing")
    await sender.send_messages(ServiceBusMessage("stuck"))
    receiver = await bus.receiver("closing", sub_queue="transferdeadletter")
    [message] = await receiver.receive_messages(5, max_wait_time=5)
    assert (str(message), message.dead_letter_reason) == ("stuck", "EntityDisabled")
    await receiver.complete_message(message)
