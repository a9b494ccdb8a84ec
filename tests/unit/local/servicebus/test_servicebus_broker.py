"""The broker in this process: its receivers, its journal, and what a restart keeps."""

import asyncio
import sqlite3
import uuid
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aos.local.servicebus import (
    Broker,
    DatabaseError,
    EntityNotFoundError,
    LockLostError,
    ManualClock,
    SessionReceiver,
    Topology,
)
from aos.local.servicebus.content import Content
from aos.local.servicebus.errors import (
    BrokerError,
    DecodeError,
    InvalidFieldError,
    MessageNotFoundError,
    MessageTooLargeError,
    NotAllowedError,
    ServerBusyError,
    StorageFullError,
)
from aos.local.servicebus.message_sessions import SessionQueue
from aos.local.servicebus.modification import properties_to_modify

_QUEUES: dict[str, dict[str, Any]] = {
    "work": {"LockDuration": "PT30S", "MaxDeliveryCount": 2},
    "unique": {"RequiresDuplicateDetection": True, "DuplicateDetectionHistoryTimeWindow": "PT1M"},
}
_DEAD = "work/$DeadLetterQueue"


def _topology(queues: dict[str, dict[str, Any]]) -> Topology:
    entries = [{"Name": name, "Properties": properties} for name, properties in queues.items()]
    return Topology.parse({"UserConfig": {"Namespaces": [{"Name": "n", "Queues": entries}]}})


async def _open(path: Path | None, clock: ManualClock) -> Broker:
    return await Broker.open(path, _topology(_QUEUES), clock=clock)


async def test_a_receiver_gets_what_was_sent():
    broker = await _open(None, ManualClock(1_000_000))
    properties = {"n": 1, "s": "ü"}
    number = await broker.send(
        "work", b"body", message_id="m", application_properties=properties, subject="s", time_to_live_s=60
    )
    receiver = broker.receiver("WORK")
    [message] = await receiver.receive(10, 5)
    assert (message.body, message.message_id, message.application_properties) == (b"body", "m", properties)
    assert (message.sequence_number, message.delivery_count, message.subject) == (number, 0, "s")
    assert message.enqueued_time_utc == datetime.fromtimestamp(1000, UTC)
    assert message.ttl == timedelta(seconds=60)
    assert message.expires_at_utc == datetime.fromtimestamp(1060, UTC)
    assert message.locked_until_utc == datetime.fromtimestamp(1030, UTC)
    await receiver.complete(message.lock_token)
    with pytest.raises(LockLostError):
        await receiver.complete(message.lock_token)
    assert await receiver.receive(1, 0) == []
    await broker.close()


async def test_a_receiver_waits_for_a_message_and_takes_no_more_than_it_asked_for():
    broker = await _open(None, ManualClock())
    receiver = broker.receiver("work")
    waiting = asyncio.create_task(receiver.receive(2, 30))
    await asyncio.sleep(0)
    for number in range(3):
        await broker.send("work", str(number).encode())
    first = await waiting
    rest = await receiver.receive(5, 5)
    assert [message.body for message in first + rest] == [b"0", b"1", b"2"]
    assert len(first) <= 2
    await broker.close()


async def test_a_receive_that_is_cancelled_leaves_its_messages_to_others():
    broker = await _open(None, ManualClock())
    receiver, other = broker.receiver("work"), broker.receiver("work")
    waiting = asyncio.create_task(receiver.receive(1, 30))
    await asyncio.sleep(0)
    sent = asyncio.create_task(broker.send("work", b"x"))
    await asyncio.sleep(0)
    waiting.cancel()
    await sent
    [message] = await other.receive(1, 5)
    assert (message.body, message.delivery_count) == (b"x", 0)
    await broker.close()


async def test_locks_renewal_abandon_and_the_delivery_limit_follow_the_clock():
    clock = ManualClock()
    broker = await _open(None, clock)
    receiver, dead = broker.receiver("work"), broker.receiver(_DEAD)
    await broker.send("work", b"x")
    [message] = await receiver.receive(1, 5)
    clock.advance(20)
    until = await receiver.renew_lock(message.lock_token)
    assert until == datetime.fromtimestamp(clock.now_ms() / 1000, UTC) + timedelta(seconds=30)
    clock.advance(29)
    assert await receiver.receive(1, 0) == []
    clock.advance(1)
    with pytest.raises(LockLostError):
        await receiver.renew_lock(message.lock_token)
    [message] = await receiver.receive(1, 5)
    assert message.delivery_count == 1
    await receiver.abandon(message.lock_token)
    [buried] = await dead.receive(1, 5)
    assert buried.dead_letter_reason == "MaxDeliveryCountExceeded"
    assert buried.application_properties["DeadLetterReason"] == "MaxDeliveryCountExceeded"
    assert buried.dead_letter_source == "work"
    with pytest.raises(NotAllowedError):
        await dead.dead_letter(buried.lock_token, "again", None)
    await broker.close()


async def test_an_unknown_entity_or_a_bad_message_is_refused_by_name():
    broker = await _open(None, ManualClock())
    with pytest.raises(EntityNotFoundError, match="'nowhere'"):
        broker.receiver("nowhere")
    with pytest.raises(EntityNotFoundError, match="'nowhere'"):
        await broker.send("nowhere", b"")
    with pytest.raises(NotAllowedError, match="DeadLetterQueue"):
        await broker.send(_DEAD, b"")
    with pytest.raises(MessageTooLargeError):
        await broker.send("work", bytes(256 * 1024))
    with pytest.raises(BrokerError, match="128 characters"):
        await broker.send("work", b"", message_id="x" * 129)
    assert broker.namespace.queue("work").message_count == 0
    await broker.close()


async def test_a_restart_keeps_messages_locks_schedules_dead_letters_history_and_numbers(tmp_path: Path):
    clock = ManualClock()
    broker = await _open(tmp_path / "bus.db", clock)
    due = datetime.fromtimestamp(clock.now_ms() / 1000, UTC) + timedelta(minutes=5)
    for body in (b"done", b"locked", b"dead", b"counted", b"ready"):
        await broker.send("work", body)
    await broker.send("work", b"later", scheduled_enqueue_time_utc=due)
    await broker.send("unique", b"1", message_id="same")
    receiver = broker.receiver("work")
    done, locked, dead, counted = await receiver.receive(4, 5)
    await receiver.complete(done.lock_token)
    await receiver.dead_letter(dead.lock_token, "because", "of this")
    await receiver.abandon(counted.lock_token)
    await broker.close()

    broker = await _open(tmp_path / "bus.db", clock)
    receiver = broker.receiver("work")
    again = await receiver.receive(10, 5)
    assert [(message.body, message.delivery_count) for message in again] == [(b"counted", 1), (b"ready", 0)]
    await receiver.complete(locked.lock_token)
    [buried] = await broker.receiver(_DEAD).receive(10, 5)
    assert (buried.body, buried.dead_letter_reason, buried.dead_letter_description) == (
        b"dead",
        "because",
        "of this",
    )
    for message in again:
        await receiver.complete(message.lock_token)
    await broker.send("unique", b"2", message_id="same")
    assert broker.namespace.queue("unique").message_count == 1
    clock.advance(301)
    [later] = await receiver.receive(10, 5)
    assert later.body == b"later"
    assert later.sequence_number == 7
    await broker.close()


async def test_modified_properties_survive_a_restart_and_what_they_cannot_be_is_refused(tmp_path: Path):
    broker = await _open(tmp_path / "bus.db", ManualClock())
    await broker.send("work", b"x", application_properties={"kept": 1, "step": 0}, subject="s")
    queue, receiver = broker.namespace.queue("work"), broker.receiver("work")
    [message] = await receiver.receive(1, 5)
    token = uuid.UUID(message.lock_token).bytes_le
    with pytest.raises(MessageTooLargeError):
        queue.abandon(token, {"step": "x" * 300_000})
    with pytest.raises(InvalidFieldError, match="'step' has no simple value"):
        properties_to_modify({"step": []})
    await queue.abandon(token, {"step": 1})
    await broker.close()
    broker = await _open(tmp_path / "bus.db", ManualClock())
    [again] = await broker.receiver("work").receive(1, 5)
    assert (again.body, again.subject, again.delivery_count) == (b"x", "s", 1)
    assert again.application_properties == {"kept": 1, "step": 1}
    assert again.message_id == message.message_id
    await broker.close()


async def test_dead_letters_of_an_earlier_run_go_where_they_are_forwarded_now(tmp_path: Path):
    clock = ManualClock()
    broker = await _open(tmp_path / "bus.db", clock)
    await broker.send("unique", b"first", message_id="first")
    for body in (b"a", b"b"):
        await broker.send("work", body, message_id=body.decode())
    receiver = broker.receiver("work")
    for message in await receiver.receive(2, 5):
        await receiver.dead_letter(message.lock_token, "why", None)
    await broker.close()

    queues = {**_QUEUES, "work": {"ForwardDeadLetteredMessagesTo": "unique"}}
    for _ in range(2):
        broker = await Broker.open(tmp_path / "bus.db", _topology(queues), clock=clock)
        messages = broker.namespace.queue("unique").peek(0, 10)
        assert [each.content.body() for each in messages] == [b"first", b"a", b"b"]
        assert [each.sequence_number for each in messages] == [1, 2, 3]
        assert [each.dead_letter_reason for each in messages] == [None, "why", "why"]
        assert broker.namespace.queue(_DEAD).message_count == 0
        await broker.close()


async def test_a_lock_of_an_earlier_run_that_is_not_settled_expires(tmp_path: Path):
    clock = ManualClock()
    broker = await _open(tmp_path / "bus.db", clock)
    await broker.send("work", b"x")
    await broker.receiver("work").receive(1, 5)
    await broker.close()
    clock.advance(10)
    broker = await _open(tmp_path / "bus.db", clock)
    receiver = broker.receiver("work")
    assert await receiver.receive(1, 0) == []
    clock.advance(20)
    [message] = await receiver.receive(1, 5)
    assert message.delivery_count == 1
    await broker.close()


async def test_a_full_disk_refuses_the_send_and_loses_nothing(tmp_path: Path):
    clock = ManualClock()
    broker = await _open(tmp_path / "bus.db", clock)
    await broker.send("unique", b"kept", message_id="kept")
    connection = broker.journal._connection
    [[pages]] = connection.execute("PRAGMA page_count").fetchall()
    connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StorageFullError):
        await broker.send("unique", bytes(100_000), message_id="refused")
    connection.execute("PRAGMA max_page_count=1000000")
    await broker.send("unique", b"now", message_id="refused")
    messages = await broker.receiver("unique").receive(10, 5)
    assert [message.body for message in messages] == [b"kept", b"now"]
    await broker.close()


async def test_a_send_that_cannot_be_written_does_not_harm_those_beside_it(tmp_path: Path):
    broker = await _open(tmp_path / "bus.db", ManualClock())
    connection = broker.journal._connection
    [[pages]] = connection.execute("PRAGMA page_count").fetchall()
    connection.execute(f"PRAGMA max_page_count={pages + 4}")
    bodies = [b"small", bytes(200_000), b"tiny"]
    results = await asyncio.gather(*(broker.send("work", body) for body in bodies), return_exceptions=True)
    assert [isinstance(result, StorageFullError) for result in results] == [False, True, False]
    assert broker.namespace.queue("work").message_count == 2
    await broker.close()


async def test_what_expired_while_the_disk_was_full_is_written_when_it_can_be(tmp_path: Path):
    clock = ManualClock()
    broker = await _open(tmp_path / "bus.db", clock)
    await broker.send("work", b"x")
    await broker.receiver("work").receive(1, 5)
    connection = broker.journal._connection
    connection.execute("PRAGMA query_only=ON")
    clock.advance(30)
    assert await broker.receiver("work").receive(1, 0.1) == []
    connection.execute("PRAGMA query_only=OFF")
    await broker.close()
    broker = await _open(tmp_path / "bus.db", clock)
    [message] = await broker.receiver("work").receive(1, 5)
    assert message.delivery_count == 1
    await broker.close()


async def test_a_database_that_cannot_be_used_is_named(tmp_path: Path):
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"no database at all" * 100)
    newer = tmp_path / "newer.db"
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    broker = await _open(tmp_path / "damaged.db", ManualClock())
    for _ in range(100):
        await broker.send("work", bytes(1000))
    await broker.close()
    damaged = bytearray((tmp_path / "damaged.db").read_bytes())
    damaged[len(damaged) // 2 : len(damaged) // 2 + 4096] = bytes(4096)
    (tmp_path / "damaged.db").write_bytes(damaged)
    for _ in range(2):  # a file that was refused is let go
        with pytest.raises(DatabaseError, match=r"damaged\.db: not usable") as refusal:
            await _open(tmp_path / "damaged.db", ManualClock())
        assert "\n" not in str(refusal.value)
        assert "locked" not in str(refusal.value)
    with pytest.raises(DatabaseError, match=r"garbage\.db: not usable"):
        await _open(garbage, ManualClock())
    with pytest.raises(DatabaseError, match=r"newer\.db: written by a newer version"):
        await _open(newer, ManualClock())
    with pytest.raises(DatabaseError, match=r"bus\.db: not usable"):
        await _open(tmp_path / "no" / "bus.db", ManualClock())


async def test_a_receive_cancelled_after_its_message_has_come_gives_it_back():
    broker = await _open(None, ManualClock())
    receiver, other = broker.receiver("work"), broker.receiver("work")
    await broker.send("work", b"x")
    waiting = asyncio.create_task(receiver.receive(1, 30))
    while not receiver._arrived:
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    [message] = await other.receive(1, 5)
    assert (message.body, message.delivery_count) == (b"x", 0)
    await broker.close()


async def test_what_is_settled_or_sent_after_the_broker_has_closed_is_refused():
    broker = await _open(None, ManualClock())
    await broker.send("work", b"x")
    receiver = broker.receiver("work")
    [message] = await receiver.receive(1, 5)
    await broker.close()
    with pytest.raises(ServerBusyError, match="closed"):
        await receiver.complete(message.lock_token)
    with pytest.raises(ServerBusyError, match="closed"):
        await broker.send("work", b"y")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00\x53\x77\xa1\x01\xff",
        b"\x00\x53\x74\xc1\x04\x02\x45\xa1\x00\x00\x53\x75\xa0\x00",
        b"\x00\x53\x72\xc1\x28\x02\xa3\x1cx-opt-scheduled-enqueue-time\x80" + b"\xff" * 8,
    ],
    ids=["no section", "text that is not UTF-8", "a list as a property's name", "a time beyond all time"],
)
async def test_a_message_that_could_not_be_read_later_is_refused_at_once(raw: bytes):
    broker = await _open(None, ManualClock())
    with pytest.raises(DecodeError):
        await broker.accept(broker.namespace.destination("work"), [Content.parse(raw)])
    await broker.send("work", b"fine")
    assert broker.namespace.queue("work").message_count == 1
    await broker.close()


async def test_a_sequence_number_given_twice_counts_once():
    clock = ManualClock()
    broker = await _open(None, clock)
    due = datetime.fromtimestamp(clock.now_ms() / 1000, UTC) + timedelta(minutes=5)
    number = await broker.send("work", b"later", scheduled_enqueue_time_utc=due)
    queue = broker.namespace.queue("work")
    await queue.cancel_scheduled([number, number])
    assert queue.message_count == 0
    await broker.close()


async def test_sessions_are_offered_by_their_oldest_messages_however_often_they_were_held_by_name():
    topology = _topology({"s": {"RequiresSession": True}})
    clock = ManualClock()
    broker = await Broker.open(None, topology, clock=clock)
    queue = broker.namespace.queue("s")
    assert isinstance(queue, SessionQueue)
    for number in range(500):
        await broker.send("s", b"", session_id="named")
        receiver = SessionReceiver(queue)
        receiver.session_id = await queue.acquire(receiver, "named", 0)
        [message] = await receiver.receive(1, 5)
        assert message.sequence_number == number + 1
        await receiver.complete(message.lock_token)
        await receiver.close()
    assert len(queue._free) < 150
    await broker.send("s", b"gone", session_id="early", time_to_live_s=1)
    await broker.send("s", b"second", session_id="b")
    await broker.send("s", b"third", session_id="c")
    await broker.send("s", b"late", session_id="early")
    clock.advance(2)
    got = []
    for _ in range(3):
        receiver = broker.session_receiver("s")
        assert await receiver.acquire(0)
        got += [message.body for message in await receiver.receive(5, 5)]
    assert got == [b"second", b"third", b"late"]
    assert not await broker.session_receiver("s").acquire(0)
    await broker.close()


async def test_what_is_cancelled_while_it_is_written_happens_all_the_same(caplog: pytest.LogCaptureFixture):
    broker = await _open(None, ManualClock())
    queue, receiver = broker.namespace.queue("work"), broker.receiver("work")

    async def wait_for(work: Awaitable[Any]) -> None:
        await work

    async def cancelled(work: Awaitable[Any]) -> None:
        task = asyncio.create_task(wait_for(work))
        await asyncio.sleep(0)  # it has submitted, and waits
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await broker.journal.submit([])

    await cancelled(broker.send("work", b"x"))
    [message] = await receiver.receive(1, 5)
    await cancelled(receiver.abandon(message.lock_token))
    [message] = await receiver.receive(1, 5)
    assert (message.body, message.delivery_count) == (b"x", 1)
    await cancelled(receiver.defer(message.lock_token))
    await cancelled(queue.receive_deferred([message.sequence_number], remove=False))
    with pytest.raises(MessageNotFoundError, match="locked by another"):
        await queue.receive_deferred([message.sequence_number], remove=False)
    await broker.send("work", b"y")
    [message] = await receiver.receive(1, 5)
    await cancelled(receiver.complete(message.lock_token))
    assert [each.content.body() for each in queue.peek(0, 9)] == [b"x"]
    assert caplog.text == ""  # no callback has failed
    await broker.close()
