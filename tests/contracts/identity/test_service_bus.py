"""Steps sent to a namespace by identity alone: AMQP over TLS on Azure's port, and a token put to ``$cbs``."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import certifi
import pytest
import pytest_asyncio
from azure.servicebus.aio import ServiceBusClient
from key_vault import TOKEN, Identity

from aos.kernel.errors import Unavailable
from aos.kernel.messaging.step_message import AGENT_STEPS, StepMessage
from aos.local.servicebus import Broker, Topology
from aos.local.servicebus.certificate import server_context
from aos.local.servicebus.clock import SystemClock
from aos.local.servicebus.errors import UnauthorizedError
from aos.local.servicebus.security import Authority, Grant
from aos.services.backends import open_queue
from aos.services.environment.settings import Settings
from aos.services.messaging.steps import ServiceBusStepQueue

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform != "linux", reason="needs a loopback address whose port 5671 is free"),
]

TOPOLOGY = Path(__file__).parents[3] / "infra/servicebus.json"
AMQPS = 5671
MESSAGE = StepMessage("run1", "pay", 1, compensation=False, final=True, deadline=0.0)


class TrustsTheDirectory(Authority):
    """Takes the identity's token, as a namespace without shared keys does, and none of its own."""

    refusing = False

    def grant(self, token: str) -> Grant:
        if token != TOKEN or self.refusing:
            raise UnauthorizedError("the identity has no role here")
        return Grant("", 2**53)

    def plain(self, response: bytes) -> bool:
        return False


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def namespace(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Broker, str]]:
    """A broker that has a host name, and nothing else, as a namespace in Azure has."""
    host = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}.{random.randint(2, 254)}"
    folder = tmp_path_factory.mktemp("bus")
    broker = await Broker.open(None, Topology.parse(json.loads(TOPOLOGY.read_text())))
    broker.authority = TrustsTheDirectory("none", "none", SystemClock())
    await broker.serve(host, AMQPS, server_context(folder, host))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certifi, "where", lambda: str(folder / "cert.pem"))  # whom the SDK trusts
        yield broker, host
    await broker.close()


@pytest_asyncio.fixture(loop_scope="module")
async def queue(namespace: tuple[Broker, str], identity: Identity) -> AsyncIterator[ServiceBusStepQueue]:
    queue = open_queue(Settings(service_bus_namespace=namespace[1]), identity)
    yield queue
    await queue.close()


async def test_a_step_is_sent_with_the_identitys_token(
    namespace: tuple[Broker, str], queue: ServiceBusStepQueue, identity: Identity
):
    await queue.send(MESSAGE)
    (received,) = await namespace[0].receiver(AGENT_STEPS).receive(1, 20.0)
    assert StepMessage.from_json(json.loads(received.body)) == MESSAGE
    assert set(identity.scopes) == {"https://servicebus.azure.net//.default"}


async def test_an_identity_without_the_role_is_told_and_sends_when_it_has_it(
    namespace: tuple[Broker, str], identity: Identity, monkeypatch: pytest.MonkeyPatch
):
    """A role that was just given takes minutes to arrive."""
    queue = ServiceBusStepQueue(lambda: ServiceBusClient(namespace[1], identity, retry_total=0))
    with monkeypatch.context() as patch:
        patch.setattr(TrustsTheDirectory, "refusing", True)
        with pytest.raises(Unavailable, match="queue agent-steps does not take messages"):
            await queue.send(MESSAGE.again())
    await queue.send(MESSAGE.again())
    assert await namespace[0].receiver(AGENT_STEPS).receive(1, 20.0)
    await queue.close()
