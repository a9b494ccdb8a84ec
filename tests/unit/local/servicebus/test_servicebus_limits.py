"""What an entity does not take: it is full, it is disabled, or the message came through too many others."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aos.local.servicebus import Broker, ManualClock, Topology
from aos.local.servicebus.errors import EntityDisabledError, QuotaExceededError

_TRANSFER = "/$Transfer/$DeadLetterQueue"
_LARGE = bytes(200_000)  # five are less than a mebibyte, six are more


def _queue(name: str, **properties: Any) -> dict[str, Any]:
    return {"Name": name, "Properties": properties}


_QUEUES = [
    _queue("small", MaxSizeInMegabytes=1),
    _queue("to-small", ForwardTo="small"),
    _queue("disabled", Status="Disabled"),
    _queue("to-disabled", ForwardTo="disabled", ForwardDeadLetteredMessagesTo="small"),
    _queue("unreadable", Status="ReceiveDisabled"),
    _queue("unwritable", Status="SendDisabled"),
    *(_queue(f"hop{number}", ForwardTo=f"hop{number + 1}") for number in range(5)),
    _queue("hop5"),
    _queue("buries", ForwardDeadLetteredMessagesTo="disabled"),
]
_TOPICS = [
    {
        "Name": "narrow",
        "Properties": {"MaxSizeInMegabytes": 1},
        "Subscriptions": [
            _queue("first"),
            _queue("second"),
            _queue("off", Status="Disabled"),
            _queue("relay", ForwardTo="disabled"),
        ],
    },
    {"Name": "closed", "Properties": {"Status": "SendDisabled"}, "Subscriptions": [_queue("all")]},
]
_TOPOLOGY = Topology.parse({"UserConfig": {"Namespaces": [{"Queues": _QUEUES, "Topics": _TOPICS}]}})


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    running = await Broker.open(None, _TOPOLOGY, clock=ManualClock())
    yield running
    await running.close()


def _count(broker: Broker, entity: str) -> int:
    return broker.namespace.queue(entity).message_count


async def _fill(broker: Broker, entity: str) -> int:
    """Send until the entity refuses; how many it took."""
    for count in range(100):
        try:
            await broker.send(entity, _LARGE)
        except QuotaExceededError as error:
            assert "full" in str(error)  # noqa: PT017 - the loop ends with it
            return count
    raise AssertionError(f"{entity} is never full")


async def test_a_full_queue_takes_no_more_until_there_is_room_again(broker: Broker, tmp_path: Path):
    assert await _fill(broker, "small") == 5
    receiver = broker.receiver("small")
    first, second = await receiver.receive(2, 5)
    await receiver.dead_letter(first.lock_token, "still here", None)
    with pytest.raises(QuotaExceededError):
        await broker.send("small", _LARGE)
    await receiver.complete(second.lock_token)
    await broker.send("small", _LARGE)
    with pytest.raises(QuotaExceededError):
        await broker.send("small", _LARGE)


async def test_what_a_queue_holds_is_counted_after_a_restart(tmp_path: Path):
    broker = await Broker.open(tmp_path / "bus.db", _TOPOLOGY, clock=ManualClock())
    assert await _fill(broker, "small") == 5
    await broker.close()
    broker = await Broker.open(tmp_path / "bus.db", _TOPOLOGY, clock=ManualClock())
    assert await _fill(broker, "small") == 0
    await broker.close()


async def test_a_topic_is_as_full_as_its_subscriptions_together(broker: Broker):
    assert await _fill(broker, "narrow") == 2  # two copies and one in a transfer dead-letter queue, each
    assert _count(broker, "narrow/Subscriptions/first") == 2
    assert _count(broker, "narrow/Subscriptions/off") == 0
    assert _count(broker, "narrow/Subscriptions/relay" + _TRANSFER) == 2


async def test_a_status_forbids_to_send_or_to_receive(broker: Broker):
    for entity in ("disabled", "unwritable", "closed"):
        with pytest.raises(EntityDisabledError):
            await broker.send(entity, b"")
    for entity in ("disabled", "disabled/$DeadLetterQueue", "unreadable"):
        with pytest.raises(EntityDisabledError):
            broker.receiver(entity)
    await broker.send("unreadable", b"")
    assert await broker.receiver("unwritable").receive(1, 0) == []


async def test_what_cannot_be_forwarded_is_kept_with_the_reason(broker: Broker):
    await broker.send("to-disabled", b"x")
    await _fill(broker, "small")
    await broker.send("to-small", _LARGE)
    await broker.send("hop0", b"far")
    await broker.send("hop1", b"near")
    letters = {}
    for entity in ("to-disabled", "to-small", "hop4"):
        [message] = await broker.receiver(entity + _TRANSFER).receive(5, 5)
        letters[entity] = (message.dead_letter_reason, message.dead_letter_source)
    assert letters == {
        "to-disabled": ("EntityDisabled", "to-disabled"),
        "to-small": ("QuotaExceeded", "to-small"),
        "hop4": ("MaxTransferHopCountExceeded", "hop4"),
    }
    [arrived] = await broker.receiver("hop5").receive(5, 5)
    assert arrived.body == b"near"


async def test_a_dead_letter_that_cannot_be_forwarded_is_kept_too(broker: Broker):
    await broker.send("buries", b"x")
    receiver = broker.receiver("buries")
    [message] = await receiver.receive(1, 5)
    await receiver.dead_letter(message.lock_token, "why", None)
    [kept] = await broker.receiver("buries" + _TRANSFER).receive(5, 5)
    assert (kept.body, kept.dead_letter_reason) == (b"x", "EntityDisabled")
