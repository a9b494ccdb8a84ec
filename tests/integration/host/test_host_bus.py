"""Service Bus triggers and outputs through one host process, with the real SDK on the other side."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from bus_client import BUS_SETTINGS, BusClient, client_of
from host_process import APPS, HostProcess, until

from aos.local.host.messaging import Messaging
from aos.local.servicebus import Topology


@pytest.fixture(scope="module")
def client(bus: HostProcess) -> Iterator[BusClient]:
    client = client_of(bus)
    yield client
    client.close()


def told(host: HostProcess, start: str, mark: str) -> Any:
    """What a function told of a message, by something that it says."""

    def line() -> str | None:
        return next((each for each in host.trace if each.startswith(start) and mark in each), None)

    found = until(line, f"{mark!r} in the trace")
    assert found is not None
    return json.loads(found.removeprefix(start))


# -- what a message shows


def test_a_message_shows_what_the_extension_shows_and_no_more(bus: HostProcess, client: BusClient) -> None:
    properties = {
        "message_id": "m-1", "correlation_id": "c-1", "subject": "greeting", "content_type": "text/plain",
        "reply_to": "answers", "reply_to_session_id": "s-9", "to": "somebody",
        "session_id": "s-1", "time_to_live": timedelta(hours=1),
    }  # fmt: skip
    application = {"tenant": "t1", "attempt": 2, "flag": True, "at": datetime(2024, 1, 2)}
    client.send("told", "héllo", application_properties=application, **properties)
    shown = told(bus, "told ", '"m-1"')
    enqueued = datetime.fromisoformat(shown.pop("enqueued_time_utc"))
    expires = datetime.fromisoformat(shown.pop("expires_at_utc"))
    assert (enqueued.tzinfo, expires - enqueued) == (None, timedelta(hours=1))
    assert len(shown.pop("lock_token")) == 36
    expected = {"tenant": "t1", "attempt": 2, "flag": True, "at": "2024-01-02T00:00:00.000000Z"}
    assert shown == {
        "body": "héllo".encode().hex(), "message_id": "m-1", "correlation_id": "c-1",
        "application_properties": expected, "user_properties": expected,
        "subject": "greeting", "label": "greeting", "content_type": "text/plain", "reply_to": "answers",
        "reply_to_session_id": "s-9", "to": "somebody", "session_id": "s-1", "partition_key": None,
        "delivery_count": 1, "sequence_number": shown["sequence_number"],
        **dict.fromkeys(
            ("dead_letter_reason", "dead_letter_error_description", "dead_letter_source", "locked_until",
             "enqueued_sequence_number", "scheduled_enqueue_time_utc", "state", "time_to_live",
             "transaction_partition_key")
        ),
    }  # fmt: skip


def test_a_message_that_says_nothing_shows_that_it_never_expires(bus: HostProcess, client: BusClient) -> None:
    client.send("told", "", message_id="plain")
    shown = told(bus, "told ", '"plain"')
    assert (shown["body"], shown["application_properties"], shown["session_id"]) == ("", {}, None)
    assert shown["expires_at_utc"].startswith("9999-12-31 23:59:59")


def test_a_body_that_is_no_text_needs_the_binary_data_type(bus: HostProcess, client: BusClient) -> None:
    client.send("told", b"a\xffb", message_id="no-text")
    assert told(bus, "told ", '"no-text"')["body"] == "a\ufffdb".encode().hex()
    client.send("told-bytes", b"a\xffb")
    assert bus.wait_for_trace("told-bytes") == ["told-bytes 61ff62"]


# -- topics


def test_every_subscription_of_a_topic_gets_the_message(bus: HostProcess, client: BusClient) -> None:
    client.send("news", "good")
    bus.wait_for_trace("news good 1")
    bus.wait_for_trace("archived good")


def test_the_dead_letters_of_a_subscription_have_a_trigger_too(bus: HostProcess, client: BusClient) -> None:
    client.send("news", "bad")
    assert bus.wait_for_trace("buried") == ["buried bad MaxDeliveryCountExceeded"]
    assert bus.wait_for_trace("news bad") == ["news bad 1", "news bad 2"]


# -- sessions


def test_sessions_run_beside_each_other_and_each_in_order(bus: HostProcess, client: BusClient) -> None:
    names, numbers = ("ann", "bob", "cid"), [str(number) for number in range(6)]
    mixed = [ServiceBusMessage(number, session_id=name) for number in numbers for name in names]
    client.send_messages("orders", mixed)
    for name in names:
        done = bus.wait_for_trace(f"ordered {name}", 6)
        assert done == [f"ordered {name} {number} 1" for number in numbers]
    together = [line.split()[1:] for line in bus.trace if line.startswith("together")]
    assert {of_one for _, of_one in together} == {"1"}
    assert max(int(sessions) for sessions, _ in together) <= 2  # maxConcurrentSessions


def test_a_message_that_fails_holds_up_those_behind_it_in_its_session(
    bus: HostProcess, client: BusClient
) -> None:
    client.send("orders", "first", "fail once", "last", session_id="faulty")
    bus.wait_for_trace("ordered faulty last")
    tried = [line for line in bus.trace if line.startswith("order faulty")]
    assert tried == [f"order faulty {body}" for body in ("first", "fail once", "fail once", "last")]
    assert "ordered faulty fail once 2" in bus.trace


def test_the_lock_of_a_session_is_renewed_while_its_function_runs(
    bus: HostProcess, client: BusClient
) -> None:
    client.send("orders", "slow", "after", session_id="long")
    bus.wait_for_trace("ordered long after")
    assert [line for line in bus.trace if line.startswith("ordered long")] == [
        "ordered long slow 1",
        "ordered long after 1",
    ]


def test_a_session_goes_on_in_order_when_its_worker_is_killed(bus: HostProcess, client: BusClient) -> None:
    client.send("orders", "crash once", "after", session_id="crashed")
    bus.wait_for_trace("ordered crashed after")
    tried = [line for line in bus.trace if line.startswith("order crashed")]
    assert tried == ["order crashed crash once", "order crashed crash once", "order crashed after"]


def test_an_idle_session_is_given_up_for_others(bus: HostProcess, client: BusClient) -> None:
    for name in ("one", "two", "three", "four"):  # twice maxConcurrentSessions
        client.send("orders", "hello", session_id=name)
    for name in ("one", "two", "three", "four"):
        bus.wait_for_trace(f"ordered {name} hello 1")


# -- batches


def test_a_batch_has_at_most_the_size_that_is_set_and_waits_for_the_least(
    bus: HostProcess, client: BusClient
) -> None:
    client.send("piles", "p1", "p2", "p3", "p4")
    piled = until(lambda: [line for line in bus.trace if line.startswith("piled") and "p4" in line], "p4")
    assert piled == ["piled p4:1"]  # alone, once maxBatchWaitTime was over
    assert "piled p1:1 p2:1 p3:1" in bus.trace
    client.send("piles", "q1")
    client.send("piles", "q2")
    until(lambda: "piled q1:1 q2:1" in bus.trace, "the two messages in one batch")


def test_each_message_of_a_batch_shows_its_own_properties(bus: HostProcess, client: BusClient) -> None:
    messages = [
        ServiceBusMessage("x", message_id="with", correlation_id="c", application_properties={"a": 1}),
        ServiceBusMessage("y", message_id="without"),
    ]
    client.send_messages("piles", messages)
    first, second = told(bus, "pile-told ", '"with"')
    assert (first["message_id"], first["correlation_id"], first["user_properties"]) == ("with", "c", {"a": 1})
    assert (second["message_id"], second["correlation_id"], second["user_properties"]) == (
        "without",
        None,
        {},
    )
    assert first["lock_token"] != second["lock_token"]
    assert datetime.fromisoformat(first["enqueued_time_utc"]).tzinfo is None
    assert first["body"] == b"x".hex()


def test_a_batch_that_fails_or_loses_its_worker_comes_back_whole(bus: HostProcess, client: BusClient) -> None:
    client.send("piles", "fail once", "f2")
    until(lambda: "piled fail once:2 f2:2" in bus.trace, "the second attempt")
    client.send("piles", "crash once", "c2")
    until(lambda: "piled crash once:2 c2:2" in bus.trace, "the second attempt")


def test_a_batch_may_be_of_bytes_and_have_a_size_of_its_own(bus: HostProcess, client: BusClient) -> None:
    client.send("raw-piles", b"\xff\x00", b"")
    assert bus.wait_for_trace("raw-pile", 2) == ["raw-pile ff00", "raw-pile "]


def test_a_batch_of_sessions_is_of_one_session_in_order(bus: HostProcess, client: BusClient) -> None:
    mixed = [ServiceBusMessage(f"{s}{n}", session_id=s) for n in (1, 2) for s in ("x", "y")]
    client.send_messages("order-piles", mixed)
    bus.wait_for_trace("order-piled x x1 x2")
    bus.wait_for_trace("order-piled y y1 y2")
    client.send("order-piles", "fail once", "z2", session_id="z")
    bus.wait_for_trace("order-piled z fail once z2")
    assert bus.trace.count("order-pile z fail once z2") == 2


def test_a_batch_whose_session_is_lost_is_delivered_again(bus: HostProcess, client: BusClient) -> None:
    client.send("order-piles", "slow once", "l2", session_id="lost")
    bus.wait_for_trace("order-piled lost slow once l2", 2)
    bus.wait_for_log("its lock was lost before it was settled; it will be delivered again")


# -- outputs


@pytest.mark.parametrize(
    ("kind", "given", "sent"),
    [
        ("text", "a text", ["a text"]),
        ("text", '{"an": "object", "as": [1, 2.50]}', ['{"an": "object", "as": [1, 2.50]}']),
        ("text", ' ["one", 2, {"three": 3}] ', ["one", "2", '{"three": 3}']),
        ("value", '["first of a list", "second of a list"]', ["first of a list", "second of a list"]),
        ("value", '{"a": "dict"}', ['{"a": "dict"}']),
        ("value", "17", ["17"]),
    ],
)
def test_text_and_values_are_sent_each_item_of_a_list_by_itself(
    kind: str, given: str, sent: list[str], bus: HostProcess, client: BusClient
) -> None:
    answer = bus.http.post(f"/put/{kind}", content=given)
    assert (answer.status_code, answer.text) == (202, "put")
    for body in sent:
        message = client.wait_for("put", body)
        assert message.content_type == "text/plain"
        assert set(message.application_properties or ()) == {b"$AzureWebJobsParentId"}


def test_bytes_are_sent_as_they_are(bus: HostProcess, client: BusClient) -> None:
    assert bus.http.post("/put/bytes", content=b"\xff[\x00]").status_code == 202
    assert client.wait_for("put", b"\xff[\x00]").content_type == "application/octet-stream"


def test_outputs_go_to_a_queue_and_a_topic_at_once(bus: HostProcess, client: BusClient) -> None:
    assert bus.http.post("/put/both", content="news of an output").status_code == 202
    client.wait_for("put", "to the queue")
    bus.wait_for_trace("archived news of an output")


def test_an_output_that_is_not_set_sends_nothing(bus: HostProcess, client: BusClient) -> None:
    assert bus.http.post("/put/nothing").status_code == 202
    assert "None" not in client.bodies("put")


def test_a_request_fails_when_its_output_cannot_be_sent(bus: HostProcess) -> None:
    assert bus.http.post("/put-nowhere").status_code == 500
    bus.wait_for_log("OutputBindingError: binding 'one' could not send to 'no-such-queue'")
    assert "function put_nowhere, binding 'one' cannot send" in bus.log  # said at the start already
    assert bus.http.post("/put/text", content="[no JSON]").status_code == 500
    bus.wait_for_log("binding 'one': a text in brackets must be JSON")
    assert bus.http.post("/put/text", content="x" * 300_000).status_code == 500
    bus.wait_for_log("at most 262144 are allowed")


def test_what_a_function_returns_can_be_a_message(bus: HostProcess, client: BusClient) -> None:
    client.send("relay", "plain")
    client.wait_for("put", "plain, relayed")
    client.send("relay", "crash once")
    client.wait_for("put", "crash once, relayed")
    assert bus.trace.count("relay crash once") == 2


def test_a_message_is_not_completed_when_the_output_of_its_function_cannot_be_sent(
    bus: HostProcess, client: BusClient
) -> None:
    client.send("misled", "mislead")
    bus.wait_for_trace("misled 3")
    assert "could not send to 'orders': orders requires sessions" in bus.log
    client.send("relay", "[broken")
    assert client.wait_for("relay/$deadletterqueue", "[broken").delivery_count == 2


def test_an_activity_has_outputs_beside_its_result(bus: HostProcess, client: BusClient) -> None:
    assert bus.http.post("/orchestrate/given").text == '"given, returned"'
    client.wait_for("put", "given, by an activity")


# -- retries


def test_a_timer_is_retried_as_its_policy_says_and_told_of_it(bus: HostProcess, client: BusClient) -> None:
    assert bus.wait_for_trace("tick", 3) == [
        "tick 0 3 None",
        "tick 1 3 RuntimeError: attempt 0 fails",
        "tick 2 3 RuntimeError: attempt 1 fails",
    ]
    client.wait_for("put", "by a timer")
    assert bus.wait_for_trace("hopeless", 2) == ["hopeless 0", "hopeless 1"]


def test_a_bus_function_is_told_that_its_retry_policy_has_no_effect(
    bus: HostProcess, client: BusClient
) -> None:
    assert "function stubborn: its retry policy has no effect" in bus.log
    client.send("stubborn", "again")
    client.wait_for("stubborn/$deadletterqueue", "again")
    assert bus.wait_for_trace("stubborn") == ["stubborn 1 0", "stubborn 2 0"]


# -- settling, disabled functions


def test_a_message_that_nobody_completes_comes_again_when_its_lock_ends(
    bus: HostProcess, client: BusClient
) -> None:
    client.send("kept", "mine")
    client.wait_for("kept/$deadletterqueue", "mine")
    assert bus.wait_for_trace("kept") == ["kept 1", "kept 2"]


def test_nothing_is_asked_of_functions_that_are_disabled(bus: HostProcess) -> None:
    listed = {each["name"]: each["isDisabled"] for each in bus.http.get("/admin/functions").json()}
    assert {name for name, disabled in listed.items() if disabled} == {"elsewhere", "foreign"}


# -- who wants to send from outside


def test_the_brokers_connection_string_is_left_for_its_owner_alone(bus: HostProcess) -> None:
    file = bus.folder / "data" / "servicebus.connection"
    bus.wait_for_log(f"the connection string of its Service Bus is in {file}")
    assert file.stat().st_mode & 0o777 == 0o600
    with ServiceBusClient.from_connection_string(file.read_text().strip()) as client:
        assert client.get_queue_receiver("told-bytes").peek_messages() == []


async def test_the_connection_string_goes_with_the_broker(tmp_path: Path) -> None:
    messaging = Messaging(tmp_path / "servicebus.db")
    assert messaging.connection_file is None
    await messaging.serve(Topology.parse({"UserConfig": {"Namespaces": [{"Name": "local"}]}}))
    assert messaging.connection_file == tmp_path / "servicebus.connection"
    assert messaging.connection_file.exists()
    await messaging.close()
    assert not (tmp_path / "servicebus.connection").exists()


# -- stopping


def test_sessions_and_batches_go_on_after_a_stop_and_a_crash_of_the_host(tmp_path: Path) -> None:
    host = HostProcess(APPS / "bus", tmp_path, "--grace", "0.2", env=BUS_SETTINGS).ready()
    client = client_of(host)
    client.send("orders", "wait", "after", session_id="stopped")
    host.wait_for_trace("order stopped wait")
    client.send("piles", "half a batch")
    client.close()
    assert host.stop() == 0
    host.launch()
    host.ready().http.post("/open/stopped")
    assert host.wait_for_trace("ordered stopped", 2) == ["ordered stopped wait 2", "ordered stopped after 1"]
    assert host.wait_for_trace("piled") == ["piled half a batch:1"]
    client = client_of(host)
    client.send("orders", "wait", "after", session_id="killed")
    host.wait_for_trace("order killed wait")
    client.close()
    host.kill()
    host.launch()
    host.ready().http.post("/open/killed")
    assert host.wait_for_trace("ordered killed", 2) == ["ordered killed wait 1", "ordered killed after 1"]
    host.stop()
