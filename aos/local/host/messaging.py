"""The Service Bus broker of the host, opened when an app needs one."""

from pathlib import Path

from aos.local.host.broker import open_broker
from aos.local.servicebus import Broker, Topology


class Messaging:
    """At most one broker, kept for as long as apps ask for the same topology."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._topology: Topology | None = None
        self._broker: Broker | None = None

    async def serve(self, topology: Topology) -> Broker:
        """The broker with this topology; one with another topology is closed (its messages stay on disk)."""
        if self._broker is None or topology != self._topology:
            await self.close()
            self._broker, self._topology = await open_broker(self._journal, topology), topology
        return self._broker

    async def close(self) -> None:
        """Close the broker, if there is one."""
        broker, self._broker = self._broker, None
        if broker is not None:
            await broker.close()
