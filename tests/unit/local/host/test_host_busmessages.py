"""What of a message's properties cannot be written into JSON as it is."""

from datetime import datetime
from uuid import UUID

from aos.local.host.busmessages import trigger_metadata
from aos.local.servicebus import Broker, Topology
from aos.local.servicebus.amqp_types import Timestamp

ONE_QUEUE = {"UserConfig": {"Namespaces": [{"Name": "n", "Queues": [{"Name": "q"}]}]}}


async def test_application_properties_of_every_kind_are_shown() -> None:
    broker = await Broker.open(None, Topology.parse(ONE_QUEUE))
    receiver = broker.receiver("q")
    identity = UUID(int=7)
    given = {
        "raw": b"\x00\xff", "id": identity, "at": Timestamp(1_700_000_000_123), "never": Timestamp(2**62),
        "half": 0.5, "none": None,
    }  # fmt: skip
    await broker.send("q", b"body", application_properties=given)
    (message,) = await receiver.receive(1, 5)
    shown = trigger_metadata(message)
    assert shown["UserProperties"] == {
        "raw": "AP8=", "id": str(identity), "at": "2023-11-14T22:13:20.123000Z", "never": 2**62,
        "half": 0.5, "none": None,
    }  # fmt: skip
    assert datetime.fromisoformat(shown["EnqueuedTime"]) == message.enqueued_time_utc
    assert shown["ExpiresAtUtc"].startswith("9999-12-31T")
    assert "CorrelationId" not in shown
    await broker.close()
