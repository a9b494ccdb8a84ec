"""The broker: journal, namespace, and the port that clients connect to."""

import asyncio
import ssl
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from aos.local.servicebus.clock import Clock, SystemClock
from aos.local.servicebus.connection import Connection
from aos.local.servicebus.content import MAX_MESSAGE_BYTES, Content, build_message, check_size
from aos.local.servicebus.door import Door
from aos.local.servicebus.errors import NotAllowedError
from aos.local.servicebus.intake import Destination, accept
from aos.local.servicebus.journal import Journal
from aos.local.servicebus.message_sessions import SessionQueue
from aos.local.servicebus.namespace import Namespace
from aos.local.servicebus.receiver import Receiver
from aos.local.servicebus.security import Authority
from aos.local.servicebus.session_receiver import SessionReceiver
from aos.local.servicebus.topology import Topology

KEY_NAME = "RootManageSharedAccessKey"
EMULATOR_KEY = "SAS_KEY_VALUE"  # the published key of Microsoft's emulator: loopback only, no secret


class Broker:
    """A Service Bus namespace in this process. Use on one event loop; make it with `open`."""

    def __init__(self, topology: Topology, clock: Clock, journal: Journal, key: str) -> None:
        self.name = f"aos-servicebus-{uuid.uuid4().hex[:8]}"
        self.clock = clock
        self.journal = journal
        self.namespace = Namespace(topology, clock, journal)
        self.authority = Authority(KEY_NAME, key, clock)
        self.connections: set[Connection] = set()
        self.door = Door(self)
        self._server: asyncio.Server | None = None
        self._host = ""
        self._port = 0
        self._encrypted = False

    @classmethod
    async def open(
        cls,
        path: str | Path | None,
        topology: Topology,
        *,
        clock: Clock | None = None,
        key: str = EMULATOR_KEY,
    ) -> "Broker":
        """Take up what the database at `path` holds (None keeps everything in memory).

        `key` is the shared access key that clients need.
        Raises DatabaseError, naming the file, when it cannot be used.
        """
        journal = await Journal.open(None if path is None else Path(path))
        try:
            return cls(topology, clock or SystemClock(), journal, key)
        except BaseException:
            await journal.close()
            raise

    async def serve(self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """Listen (port 0 takes a free one), for TLS if there is a context for it.

        Raises OSError, e.g. when the port is in use.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), host, port, ssl=tls)
        self._encrypted = tls is not None
        self._host, self._port = host, self._server.sockets[0].getsockname()[1]

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._port

    @property
    def connection_string(self) -> str:
        """What a client needs to connect: in the shape of the emulator, or with TLS in that of Azure."""
        access = f"SharedAccessKeyName={self.authority.key_name};SharedAccessKey={self.authority.key}"
        endpoint = f"sb://{self._host}:{self._port}"
        if self._encrypted:
            return f"Endpoint={endpoint}/;{access}"
        return f"Endpoint={endpoint};{access};UseDevelopmentEmulator=true;"

    def receiver(self, entity: str) -> Receiver:
        """A receiver in this process. Raises EntityNotFoundError."""
        return Receiver(self.namespace.queue(entity))

    def requires_sessions(self, entity: str) -> bool:
        """Whether it is received from by sessions alone. Raises EntityNotFoundError."""
        return isinstance(self.namespace.queue(entity), SessionQueue)

    def session_receiver(self, entity: str) -> SessionReceiver:
        """A receiver in this process that is yet to acquire a session. Raises EntityNotFoundError."""
        queue = self.namespace.queue(entity)
        if not isinstance(queue, SessionQueue):
            raise NotAllowedError(f"{entity} has no sessions")
        return SessionReceiver(queue)

    async def send_all(
        self,
        entity: str,
        bodies: Iterable[bytes],
        *,
        content_type: str | None = None,
        application_properties: Mapping[str, Any] | None = None,
    ) -> None:
        """Send from this process, all or none; returns once the messages are on disk."""
        messages = [
            build_message(body, application_properties=application_properties, content_type=content_type)
            for body in bodies
        ]
        for raw in messages:
            check_size(len(raw), MAX_MESSAGE_BYTES)
        await self.accept(self.namespace.destination(entity), [Content.parse(raw) for raw in messages])

    async def send(
        self,
        entity: str,
        body: bytes,
        *,
        message_id: str | None = None,
        application_properties: Mapping[str, Any] | None = None,
        time_to_live_s: float | None = None,
        scheduled_enqueue_time_utc: datetime | None = None,
        session_id: str | None = None,
        **properties: str | None,
    ) -> int:
        """Send from this process; returns the sequence number once the message is on disk.

        `properties` may be correlation_id, subject, content_type, to and reply_to.
        """
        when = scheduled_enqueue_time_utc
        raw = build_message(
            body,
            ttl_ms=None if time_to_live_s is None else round(time_to_live_s * 1000),
            scheduled_ms=None if when is None else round(when.timestamp() * 1000),
            application_properties=application_properties,
            message_id=message_id,
            group_id=session_id,
            **properties,
        )
        check_size(len(raw), MAX_MESSAGE_BYTES)
        numbers = await self.accept(self.namespace.destination(entity), [Content.parse(raw)])
        return numbers[0]

    async def accept(self, destination: Destination, contents: Sequence[Content]) -> list[int]:
        """Send messages, all or none; returns their sequence numbers once they are on disk."""
        return await accept(destination, contents, self.journal)

    async def close(self) -> None:
        """Hang up, write what is left, and let go of the database."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close()
        await self.door.close()
        self.namespace.stop()
        await self.journal.close()
