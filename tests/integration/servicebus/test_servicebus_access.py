"""Who is let in, what is not found, and what the broker does with bytes that make no sense."""

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from azure.core.credentials import AccessToken, AzureSasCredential
from azure.servicebus import ServiceBusClient as SyncClient
from azure.servicebus import ServiceBusMessage, TransportType
from azure.servicebus._pyamqp.utils import generate_sas_token
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.exceptions import (
    MessagingEntityNotFoundError,
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
    ServiceBusError,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servicebus_bus import Bus

from aos.local.servicebus.amqp_types import Described
from aos.local.servicebus.broker import EMULATOR_KEY, KEY_NAME
from aos.local.servicebus.encoding import encode
from aos.local.servicebus.performatives import (
    AMQP_HEADER,
    SASL_HEADER,
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    Flow,
    Open,
    Performative,
    SaslInit,
    Transfer,
    decode_performative,
    encode_frame,
)
from aos.local.servicebus.websocket import _Stream

pytestmark = pytest.mark.asyncio(loop_scope="module")


_ANONYMOUS = SaslInit("ANONYMOUS")


def _with_key(bus: Bus) -> SaslInit:
    """SASL PLAIN with the key: no token is needed then."""
    return SaslInit("PLAIN", f"\0{bus.broker.authority.key_name}\0{bus.broker.authority.key}".encode())


class Wire:
    """A client of a few lines that can send what no SDK would."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def opened(self, sasl_init: SaslInit = _ANONYMOUS) -> None:
        sasl = bytearray(encode_frame(0, sasl_init))
        sasl[5] = 1
        self.writer.write(SASL_HEADER + bytes(sasl) + AMQP_HEADER)
        self.writer.write(encode_frame(0, Open("wire")) + encode_frame(0, Begin(None, 0, 100, 100)))
        assert await self.reader.readexactly(8) == SASL_HEADER
        await self.frame()
        await self.frame()
        assert await self.reader.readexactly(8) == AMQP_HEADER
        assert isinstance(await self.performative(), Open)
        assert isinstance(await self.performative(), Begin)

    async def frame(self) -> bytes:
        size = int.from_bytes(await self.reader.readexactly(4))
        return await self.reader.readexactly(size - 4)

    async def performative(self) -> Performative:
        return decode_performative((await self.frame())[4:])[0]

    def send(self, performative: Performative, payload: bytes = b"") -> None:
        self.writer.write(encode_frame(0, performative, payload))


@pytest_asyncio.fixture(loop_scope="module")
async def wire(bus: Bus) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", bus.broker.port)
    yield Wire(reader, writer)
    writer.close()


def _client(bus: Bus, **changes: str) -> ServiceBusClient:
    text = bus.broker.connection_string
    for old, new in changes.items():
        text = text.replace(f"{old}={text.split(old + '=')[1].split(';')[0]}", f"{old}={new}")
    return ServiceBusClient.from_connection_string(text, retry_total=0)


async def _send(client: ServiceBusClient, queue: str = "plain") -> None:
    async with client, client.get_queue_sender(queue) as sender:
        await sender.send_messages(ServiceBusMessage("x", time_to_live=None))


async def test_a_wrong_key_is_refused(bus: Bus):
    errors = await asyncio.gather(
        _send(_client(bus, SharedAccessKey="wrong")),
        _send(_client(bus, SharedAccessKeyName="SomebodyElse")),
        return_exceptions=True,
    )
    assert [type(error) for error in errors] == [ServiceBusAuthenticationError] * 2
    assert bus.count("plain") == 0


async def test_a_token_for_another_entity_or_from_the_past_is_refused(bus: Bus):
    address = f"127.0.0.1:{bus.broker.port}"
    authority = bus.broker.authority
    now_s = int(time.time())

    def client(entity: str, expiry_s: int) -> ServiceBusClient:
        token = generate_sas_token(f"sb://{address}/{entity}", authority.key_name, authority.key, expiry_s)
        return ServiceBusClient(address, AzureSasCredential(token), retry_total=0, use_tls=False)

    results = await asyncio.gather(
        _send(client("brief", now_s + 3600)),
        _send(client("plain", now_s - 10)),
        _send(client("fleeting", now_s + 3600), "fleeting"),
        return_exceptions=True,
    )
    expected = [ServiceBusAuthorizationError, ServiceBusAuthenticationError, type(None)]
    assert [type(result) for result in results] == expected
    assert (bus.count("plain"), bus.count("fleeting")) == (0, 1)


async def test_an_unknown_entity_is_not_found(bus: Bus):
    async with _client(bus) as client:
        errors = await asyncio.gather(
            _send(_client(bus), "nowhere"),
            client.get_queue_receiver("nowhere").receive_messages(1, max_wait_time=2),
            client.get_subscription_receiver("events", "nobody").receive_messages(1, max_wait_time=2),
            return_exceptions=True,
        )
    assert [type(error) for error in errors] == [MessagingEntityNotFoundError] * 3


async def test_nothing_can_be_sent_to_a_dead_letter_queue(bus: Bus):
    with pytest.raises(ServiceBusError, match="queues and topics only"):
        await _send(_client(bus), "plain/$DeadLetterQueue")


async def test_an_attach_without_a_token_is_refused(bus: Bus, wire: Wire):
    await wire.opened()
    wire.send(Attach("l", 0, False, source=Described(0x28, ["me"]), target=Described(0x29, ["plain"])))
    attach = await wire.performative()
    assert isinstance(attach, Attach)
    assert attach.target is None
    detach = await wire.performative()
    assert isinstance(detach, Detach)
    assert detach.error.value[0] == "amqp:unauthorized-access"


async def test_a_transaction_coordinator_is_refused_by_name(wire: Wire):
    await wire.opened()
    wire.send(Attach("l", 0, False, source=Described(0x28, ["me"]), target=Described(0x30, [])))
    attach, detach = await wire.performative(), await wire.performative()
    assert isinstance(attach, Attach)
    assert attach.target is None
    assert isinstance(detach, Detach)
    condition, description = detach.error.value[:2]
    assert (condition, description) == ("amqp:not-implemented", "transactions are not supported")


async def test_a_link_is_detached_when_its_token_expires(bus: Bus, wire: Wire):
    sender = await bus.sender("fleeting")
    del sender  # its token, like every other, lasts an hour
    await wire.opened()
    authority = bus.broker.authority
    expiry_s = bus.clock.now_ms() // 1000 + 5
    token = generate_sas_token("sb://x/plain", authority.key_name, authority.key, expiry_s)
    [connection] = [each for each in bus.broker.connections if not each._grants]
    connection.authenticate(token)
    wire.send(Attach("l", 0, False, source=Described(0x28, ["me"]), target=Described(0x29, ["plain"])))
    attach = await wire.performative()
    assert isinstance(attach, Attach)
    assert attach.target is not None
    await wire.performative()
    bus.clock.advance(6)
    detach = await wire.performative()
    assert isinstance(detach, Detach)
    assert detach.error.value[0] == "amqp:unauthorized-access"


async def test_a_token_that_is_put_again_in_time_keeps_the_link(bus: Bus, wire: Wire):
    await bus.sender("fleeting")
    await wire.opened()
    [connection] = [each for each in bus.broker.connections if not each._grants]
    authority = bus.broker.authority

    def token(lifetime_s: int) -> str:
        expiry_s = bus.clock.now_ms() // 1000 + lifetime_s
        return generate_sas_token("sb://x/plain", authority.key_name, authority.key, expiry_s)

    connection.authenticate(token(5))
    wire.send(Attach("l", 0, False, source=Described(0x28, ["me"]), target=Described(0x29, ["plain"])))
    assert isinstance(await wire.performative(), Attach)
    await wire.performative()
    bus.clock.advance(4)
    connection.authenticate(token(20))
    bus.clock.advance(4)
    wire.send(Detach(0, True))
    detach = await wire.performative()
    assert isinstance(detach, Detach)
    assert detach.error is None


class _Entra:
    """A credential as azure-identity has them."""

    async def get_token(self, *scopes: str, **options: object) -> AccessToken:
        del scopes, options
        return AccessToken("header.claims.signature", int(time.time()) + 3600)

    async def close(self) -> None:
        pass


async def test_a_token_of_entra_id_is_refused_and_the_log_says_why(
    bus: Bus, caplog: pytest.LogCaptureFixture
):
    address = f"127.0.0.1:{bus.broker.port}"
    client = ServiceBusClient(address, _Entra(), retry_total=0, use_tls=False)
    with pytest.raises(ServiceBusAuthenticationError):
        await _send(client)
    assert "not tokens of Microsoft Entra ID" in caplog.text


async def test_a_connection_may_use_sasl_plain_with_the_key(bus: Bus, wire: Wire):
    await wire.opened(_with_key(bus))
    wire.send(Attach("l", 0, False, source=Described(0x28, ["me"]), target=Described(0x29, ["plain"])))
    attach = await wire.performative()
    assert isinstance(attach, Attach)
    assert attach.target is not None


async def test_a_wrong_password_in_sasl_plain_ends_the_connection(bus: Bus, wire: Wire):
    sasl = bytearray(encode_frame(0, SaslInit("PLAIN", b"\0RootManageSharedAccessKey\0guess")))
    sasl[5] = 1
    wire.writer.write(SASL_HEADER + bytes(sasl))
    await wire.reader.readexactly(8)
    await wire.frame()
    outcome = await wire.frame()
    assert outcome.endswith(b"\x50\x01")
    assert await wire.reader.read() == b""


async def test_a_client_that_asks_for_much_and_reads_nothing_is_detached(bus: Bus, wire: Wire):
    for _ in range(4):
        await bus.broker.send("unread", bytes(200_000))
    await wire.opened(_with_key(bus))
    node = "unread/$management"
    wire.send(Attach("in", 0, False, source=Described(0x28, ["me"]), target=Described(0x29, [node])))
    wire.send(Attach("out", 1, True, source=Described(0x28, [node]), target=Described(0x29, ["me"])))
    wire.send(Flow(0, 2**20, 0, 2**20, 1, 0, 2**20))
    for number in range(500):  # 400 MB of answers
        wire.send(Transfer(0, number, number.to_bytes(4), 0, True), _REQUEST)
    async with asyncio.timeout(60):
        await wire.writer.drain()
        await _send(_client(bus), "fleeting")  # others are served meanwhile
        assert _most_unread(bus) < 8 * 1024 * 1024
        performative = await wire.performative()
        while not isinstance(performative, Detach):
            performative = await wire.performative()
    assert performative.error.value[0] == "amqp:link:transfer-limit-exceeded"


def _most_unread(bus: Bus) -> int:
    transports = [connection._transport for connection in bus.broker.connections]
    return max(transport.get_write_buffer_size() for transport in transports if transport is not None)


async def test_a_transfer_to_no_link_ends_the_session_and_not_the_connection(bus: Bus, wire: Wire):
    await wire.opened()
    wire.send(Transfer(9, 0, b"t"), b"")
    assert (await wire.frame())[6:7] == b"\x17"  # end
    wire.send(Detach(9, True))  # as clients do after their session has ended
    wire.send(Begin(None, 0, 100, 100))
    assert isinstance(await wire.performative(), Begin)


async def test_bytes_that_are_no_amqp_close_the_connection(bus: Bus, wire: Wire):
    wire.writer.write(b"HELO broker.example\r\n")
    assert await wire.reader.read() == AMQP_HEADER


async def test_http_is_spoken_for_websockets_alone(bus: Bus):
    client = ServiceBusClient.from_connection_string(
        bus.broker.connection_string,
        transport_type=TransportType.AmqpOverWebsocket,
        custom_endpoint_address=f"sb://127.0.0.1:{bus.broker.port}",
        retry_total=0,
    )
    large = b"x" * 200_000
    async with client, client.get_queue_receiver("fleeting") as receiver:
        async with client.get_queue_sender("fleeting") as sender:
            await sender.send_messages(ServiceBusMessage(large))
        bodies = []
        while large not in bodies:
            for message in await receiver.receive_messages(9, max_wait_time=10):
                bodies.append(b"".join(message.body))
                await receiver.complete_message(message)
    url = f"http://127.0.0.1:{bus.broker.port}/fleeting?api-version=2021-05"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 501
        assert "not administered over HTTP" in await answer.text()
    assert not [each for each in bus.broker.connections if isinstance(each._transport, _Stream)]


def _sections(*sections: tuple[int, object]) -> bytes:
    return b"".join(encode(Described(code, value)) for code, value in sections)


_REQUEST = _sections(
    (0x73, ["id", None, None, None, "me"]),
    (0x74, {"operation": "com.microsoft:peek-message"}),
    (0x77, {"from-sequence-number": 0, "message-count": 9}),
)


def _stream() -> bytes:
    """What a well-behaved client might send, for hypothesis to damage."""
    sasl = bytearray(encode_frame(0, SaslInit("PLAIN", f"\0{KEY_NAME}\0{EMULATOR_KEY}".encode())))
    sasl[5] = 1
    me, queue, node = ["me"], ["unread"], ["unread/$management"]
    message = _sections((0x70, [True]), (0x73, ["id"]), (0x74, {"a": 1}), (0x75, b"body"))
    accepted = Described(0x24, [])
    frames: list[tuple[Performative, bytes]] = [
        (Open("c", "h", 65536, 10, 5000), b""),
        (Begin(None, 0, 1000, 1000), b""),
        (Attach("in", 0, False, source=Described(0x28, me), target=Described(0x29, queue)), b""),
        (Attach("out", 1, True, source=Described(0x28, queue), target=Described(0x29, me)), b""),
        (Attach("ask", 2, False, source=Described(0x28, me), target=Described(0x29, node)), b""),
        (Attach("hear", 3, True, source=Described(0x28, node), target=Described(0x29, me)), b""),
        (Transfer(0, 0, b"tag", 0, False, False), message),
        (Flow(0, 1000, 0, 1000, 1, 0, 5), b""),
        (Flow(0, 1000, 0, 1000, 3, 0, 5), b""),
        (Transfer(2, 1, b"ask", 0, True, False), _REQUEST),
        (Disposition(True, 0, 9, True, accepted), b""),
        (Detach(0, True), b""),
        (Close(), b""),
    ]
    sent = (encode_frame(0, performative, payload) for performative, payload in frames)
    return SASL_HEADER + bytes(sasl) + AMQP_HEADER + b"".join(sent)


_GOOD = _stream()


async def _answer_of(bus: Bus, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", bus.broker.port)
    try:
        writer.write(data)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


async def test_the_undamaged_stream_is_answered_to_the_end(bus: Bus):
    answer = await _answer_of(bus, _GOOD)
    assert answer.endswith(encode_frame(0, Close()))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_a_damaged_stream_harms_no_other_connection(bus: Bus, data: st.DataObject):
    damaged = bytearray(_GOOD[: data.draw(st.integers(0, len(_GOOD)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged += data.draw(st.binary(max_size=40))
    await _answer_of(bus, bytes(damaged))
    answer = await _answer_of(bus, _GOOD)
    assert answer.endswith(encode_frame(0, Close()))


async def test_the_synchronous_client_works_too(bus: Bus):
    def use() -> list[str]:
        with SyncClient.from_connection_string(bus.broker.connection_string, retry_total=0) as client:
            with client.get_queue_sender("plain") as sender:
                sender.send_messages([ServiceBusMessage("s1"), ServiceBusMessage("s2")])
            with client.get_queue_receiver("plain") as receiver:
                messages = receiver.receive_messages(2, max_wait_time=5)
                for message in messages:
                    receiver.complete_message(message)
                return [str(message) for message in messages]

    assert await asyncio.to_thread(use) == ["s1", "s2"]
    assert bus.count("plain") == 0
