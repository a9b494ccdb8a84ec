"""SDK types and settling by the function itself, with Microsoft's extension for them.

It is installed apart: what it declares to require would bring other versions of what the rest needs.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage
from bus_client import BusClient, client_of
from host_process import APPS, HostProcess

SDK_TYPES = Path(__file__).parents[3] / ".tools" / "sdk-types"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    assert SDK_TYPES.is_dir(), "run `make .tools/sdk-types`, as `make test` does"
    env = {"PYTHONPATH": str(SDK_TYPES)}
    host = HostProcess(APPS / "settling", tmp_path_factory.mktemp("settling"), "--grace", "1", env=env)
    yield host.ready()
    host.stop()


@pytest.fixture(scope="module")
def client(host: HostProcess) -> Iterator[BusClient]:
    client = client_of(host)
    yield client
    client.close()


def told(host: HostProcess, start: str) -> Any:
    return json.loads(host.wait_for_trace(start)[0].removeprefix(start))


def test_a_message_can_be_the_sdks_own_and_outputs_go_with_it(host: HostProcess, client: BusClient) -> None:
    client.send(
        "seen", "hello", message_id="m", correlation_id="c", subject="s", application_properties={"a": 1}
    )
    shown = told(host, "seen ")
    assert (shown["body"], shown["message_id"], shown["correlation_id"]) == (b"hello".hex(), "m", "c")
    assert (shown["subject"], shown["application_properties"]) == ("s", "{b'a': 1}")
    assert (shown["delivery_count"], shown["enqueued_time_utc"][-6:]) == ("0", "+00:00")
    assert shown["locked_until_utc"] > shown["enqueued_time_utc"]
    client.wait_for("out", "hello was seen")


def test_a_batch_can_be_of_the_sdks_own_messages(host: HostProcess, client: BusClient) -> None:
    client.send("piles", b"\xff\x00", "two")
    first, second = told(host, "pile ")
    assert (first["body"], second["body"]) == ("ff00", b"two".hex())
    assert first["lock_token"] != second["lock_token"]


def test_a_failure_of_such_a_function_is_its_own(host: HostProcess, client: BusClient) -> None:
    client.send("seen", "fail")
    host.wait_for_log("LookupError: not to be seen")


def test_what_its_function_completes_is_gone_and_what_nobody_settles_comes_again(
    host: HostProcess, client: BusClient
) -> None:
    completed = ("complete", "complete and fail", "complete and stay", "renew", "twice")
    client.send("mine", *completed, "nothing")
    assert client.wait_for("mine/$deadletterqueue", "nothing").delivery_count == 2  # two locks later
    settled = [line for line in host.trace if line.startswith("settle ")]
    expected = [f"settle {how} 0" for how in (*completed, "nothing")] + ["settle nothing 1"]
    assert sorted(settled) == sorted(expected)
    assert host.wait_for_trace("refused") == ["refused SettlementError True"]  # the second time
    assert "its lock was lost while the function ran" not in host.log


def test_a_function_abandons_dead_letters_and_defers(host: HostProcess, client: BusClient) -> None:
    client.send("mine", "abandon", "dead-letter", "defer")
    assert client.wait_for("mine/$deadletterqueue", "abandon").delivery_count == 2
    dead = client.wait_for("mine/$deadletterqueue", "dead-letter")
    assert dead.dead_letter_reason == "unfit"
    assert dead.dead_letter_error_description == "it is not as it should be"
    assert str(client.deferred("mine", "defer")) == "defer"


def test_the_state_and_the_lock_of_a_session_are_the_functions(host: HostProcess, client: BusClient) -> None:
    messages = [ServiceBusMessage(body, session_id="s") for body in ("1", "2")]
    client.send_messages("sessions", messages)
    assert host.wait_for_trace("session s", 2) == ["session s 1 True", "session s 2 True"]
    assert client.session_state("sessions", "s") == b"DATA"
