"""The broker in a process of its own: killed, restarted, stopped, and told wrong things."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage, TransportType
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.exceptions import ServiceBusError

_COMMAND = (sys.executable, "-m", "aos.local.servicebus")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    queues = [
        {"Name": "work"},
        {"Name": "unique", "Properties": {"RequiresDuplicateDetection": True}},
        {"Name": "talks", "Properties": {"RequiresSession": True}},
    ]
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"UserConfig": {"Namespaces": [{"Name": "n", "Queues": queues}]}}))
    return path


async def _start(*arguments: str | Path) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*_COMMAND, *map(str, arguments), stdout=pipe, stderr=pipe)


@asynccontextmanager
async def _serving(config: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, ServiceBusClient]]:
    """A broker process on the database beside `config`, and a client; killed at the end, as by a crash."""
    process = await _start("--config", config, "--port", "0", "--db", config.with_name("bus.db"))
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()
    client = ServiceBusClient.from_connection_string(line, retry_total=0)
    try:
        yield process, client
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        # Each takes half a second to find that its connection is dead; the client closes one after the other.
        await asyncio.gather(*(handler.close() for handler in client._handlers))
        await client.close()


async def test_what_was_acknowledged_survives_a_kill_and_what_was_settled_stays_settled(config: Path):
    due = datetime.now(UTC) + timedelta(hours=1)
    async with _serving(config) as (process, client):
        sender, unique = client.get_queue_sender("work"), client.get_queue_sender("unique")
        receiver = client.get_queue_receiver("work")
        session = client.get_queue_receiver("talks", session_id="s")
        await asyncio.gather(
            session.__aenter__(),
            client.get_queue_sender("talks").send_messages(ServiceBusMessage("said", session_id="s")),
            sender.send_messages([ServiceBusMessage(str(number)) for number in range(10)]),
            unique.send_messages(ServiceBusMessage("1", message_id="same")),
            receiver.__aenter__(),
        )
        [scheduled] = await sender.schedule_messages(ServiceBusMessage("later"), due)
        messages: list = []
        while len(messages) < 4:
            messages += await receiver.receive_messages(4 - len(messages), max_wait_time=5)
        await receiver.complete_message(messages[0])
        await receiver.dead_letter_message(messages[1], reason="bad")
        await receiver.defer_message(messages[2])
        await receiver.abandon_message(messages[3])
        await sender.send_messages(ServiceBusMessage("last"))
        await session.receive_messages(1, max_wait_time=5)
        await session.session.set_state("state")
        process.kill()
        await process.wait()

    async with _serving(config) as (_, client):
        receiver, unique = client.get_queue_receiver("work"), client.get_queue_sender("unique")
        dead_receiver = client.get_queue_receiver("work", sub_queue="deadletter")
        peeker = client.get_queue_receiver("unique")
        session = client.get_queue_receiver("talks", session_id="s")
        handlers = (receiver, unique, dead_receiver, peeker, session)
        await asyncio.gather(*(each.__aenter__() for each in handlers))
        assert await session.session.get_state() == b"state"
        [said] = await session.receive_messages(1, max_wait_time=5)
        assert (str(said), said.delivery_count) == ("said", 0)
        got: list = []
        while len(got) < 8:
            batch = await receiver.receive_messages(20, max_wait_time=5)
            assert batch, "an acknowledged message is missing"
            got += batch
        assert [str(message) for message in got] == [str(number) for number in range(3, 10)] + ["last"]
        assert [message.delivery_count for message in got] == [1] + [0] * 7
        [deferred] = await receiver.receive_deferred_messages(messages[2].sequence_number)
        assert str(deferred) == "2"
        [dead] = await dead_receiver.receive_messages(5, max_wait_time=5)
        assert (str(dead), dead.dead_letter_reason) == ("1", "bad")
        peeked = await receiver.peek_messages(20, sequence_number=1)
        assert "0" not in [str(message) for message in peeked]
        [later] = await receiver.peek_messages(1, sequence_number=scheduled)
        assert str(later) == "later"
        await unique.send_messages(ServiceBusMessage("2", message_id="same"))
        assert len(await peeker.peek_messages(5)) == 1


async def test_a_kill_amid_a_stream_of_sends_loses_none_that_was_acknowledged(config: Path):
    acknowledged: list[str] = []
    async with _serving(config) as (process, client):
        sender = client.get_queue_sender("work")
        number = 0
        try:
            while process.returncode is None:
                await sender.send_messages(ServiceBusMessage(str(number)))
                acknowledged.append(str(number))
                number += 1
                if number == 100:
                    asyncio.get_running_loop().call_later(0.05, process.kill)
        except Exception:  # noqa: BLE001 - however the SDK tells that the broker has gone
            await process.wait()
    assert len(acknowledged) >= 100
    async with _serving(config) as (_, client):
        receiver = client.get_queue_receiver("work")
        kept: list[str] = []
        start = 1
        while messages := await receiver.peek_messages(250, sequence_number=start):
            kept += [str(message) for message in messages]
            start = (messages[-1].sequence_number or 0) + 1
    assert kept[: len(acknowledged)] == acknowledged
    assert len(kept) <= len(acknowledged) + 1


async def test_a_client_configured_as_for_azure_connects_with_tls_and_the_key(config: Path):
    folder = config.with_name("tls")
    certificates = set()
    for number in range(2):
        process = await _start("--config", config, "--port", "0", "--tls", folder, "--key", "s3cret+/=")
        try:
            assert process.stdout is not None
            line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()
            certificates.add((folder / "cert.pem").read_bytes())
            await _round_trip(line, folder / "cert.pem", str(number))
            if number == 0:
                await _refusals(line, folder / "cert.pem")
        finally:
            process.kill()
            await process.wait()
    assert len(certificates) == 1
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600


def _as_for_azure(line: str, **options: Any) -> ServiceBusClient:
    """A client with a connection string and a port of its own, as behind a proxy."""
    match = re.fullmatch(
        r"Endpoint=(sb://127\.0\.0\.1:\d+)/;SharedAccessKeyName=\w+;SharedAccessKey=s.cret\+/=", line
    )
    assert match is not None
    options |= {"custom_endpoint_address": match[1], "transport_type": TransportType.Amqp, "retry_total": 0}
    return ServiceBusClient.from_connection_string(line, **options)


async def _round_trip(line: str, certificate: Path, text: str) -> None:
    async with _as_for_azure(line, connection_verify=str(certificate)) as client:
        await client.get_queue_sender("work").send_messages(ServiceBusMessage(text))
        [message] = await client.get_queue_receiver("work").receive_messages(1, max_wait_time=5)
        assert str(message) == text


async def _refusals(line: str, certificate: Path) -> None:
    """Clients that do not trust the certificate, or have another key, are refused."""
    stranger = _as_for_azure(line)
    impostor = _as_for_azure(line.replace("s3cret", "secret"), connection_verify=str(certificate))
    for client in (stranger, impostor):
        async with client:
            with pytest.raises(ServiceBusError):
                await client.get_queue_sender("work").send_messages(ServiceBusMessage("refused"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_it_in_order(config: Path, number: signal.Signals):
    async with _serving(config) as (process, _):
        process.send_signal(number)
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert process.stderr is not None
        assert await process.stderr.read() == b""


async def _complaint(*arguments: str | Path) -> str:
    process = await _start(*arguments)
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, out) == (2, b"")
    [line] = err.decode().splitlines()
    return line


async def test_what_cannot_be_used_is_named_in_one_line_and_exit_code_2(config: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        in_use, missing, unreadable, no_folder = await asyncio.gather(
            _complaint("--config", config, "--port", port),
            _complaint("--config", config.with_name("none.json"), "--port", "0"),
            _complaint("--config", config, "--port", "0", "--db", config.parent / "no" / "bus.db"),
            _complaint("--config", config, "--port", "0", "--tls", config),
        )
    assert f"cannot listen on 127.0.0.1:{port}: " in in_use
    assert f"none.json: {os.strerror(2)}" in missing
    assert "no/bus.db: not usable" in unreadable
    assert f"{config}: not usable for the TLS certificate: " in no_folder


async def test_a_database_in_use_is_not_opened_twice(config: Path):
    async with _serving(config):
        complaint = await _complaint("--config", config, "--port", "0", "--db", config.with_name("bus.db"))
    assert "bus.db: not usable as the message database: database is locked" in complaint
