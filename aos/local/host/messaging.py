"""The Service Bus broker of the host, opened when an app needs one."""

from pathlib import Path

from aos.local.host.broker import open_broker
from aos.local.host.errors import HostError
from aos.local.host.files import replace_file
from aos.local.servicebus import Broker, Topology


class Messaging:
    """At most one broker, kept for as long as apps ask for the same topology.

    Its connection string is left in a file beside the journal, for whoever wants to send to the app.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._connection = journal.with_suffix(".connection")
        self._topology: Topology | None = None
        self._broker: Broker | None = None

    async def serve(self, topology: Topology) -> Broker:
        """The broker with this topology; one with another topology is closed (its messages stay on disk)."""
        if self._broker is None or topology != self._topology:
            await self.close()
            self._broker, self._topology = await open_broker(self._journal, topology), topology
            _leave(self._connection, self._broker.connection_string)
        return self._broker

    @property
    def connection_file(self) -> Path | None:
        """The file with the broker's connection string, if there is a broker."""
        return self._connection if self._broker is not None else None

    async def close(self) -> None:
        """Close the broker, if there is one."""
        broker, self._broker = self._broker, None
        if broker is not None:
            self._connection.unlink(missing_ok=True)
            await broker.close()


def _leave(path: Path, text: str) -> None:
    """Write a file that nobody else may read."""
    try:
        replace_file(path, f"{text}\n", mode=0o600)
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}") from error
