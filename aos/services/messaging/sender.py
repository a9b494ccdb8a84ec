"""A sender that any number of coroutines may use at once.

The SDK's senders are not safe for that, and each send costs a round trip; so what is sent while one
flight is under way goes into the next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusSender
from azure.servicebus.exceptions import ServiceBusError

from aos.kernel.errors import Unavailable

MAX_FLIGHT = 100


@dataclass(slots=True)
class _Parcel:
    message: ServiceBusMessage
    at: float | None
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class QueueSender:
    """Sends to one queue. Messages carry ids, so one that is sent again is told apart."""

    def __init__(self, connect: Callable[[], ServiceBusClient], queue: str) -> None:
        self._connect = connect
        self._queue = queue
        self._client: ServiceBusClient | None = None
        self._sender: ServiceBusSender | None = None
        self._waiting: list[_Parcel] = []
        self._flights: asyncio.Task[None] | None = None

    async def send(self, body: str, message_id: str, *, at: float | None = None) -> None:
        """Send a message, or schedule it for ``at`` (unix seconds); return when the broker has it.

        Raises:
            Unavailable: the broker did not take it, as far as is known.
        """
        message = ServiceBusMessage(body, message_id=message_id, content_type="application/json")
        parcel = _Parcel(message, at)
        self._waiting.append(parcel)
        if self._flights is None or self._flights.done():
            self._flights = asyncio.create_task(self._fly())
        await parcel.done

    async def _fly(self) -> None:
        while self._waiting:
            flight, self._waiting = self._waiting[:MAX_FLIGHT], self._waiting[MAX_FLIGHT:]
            try:
                await self._deliver(flight)
            except (ServiceBusError, OSError, TimeoutError) as error:
                await self._disconnect()
                failure = Unavailable(
                    f"queue {self._queue} does not take messages: {error}", queue=self._queue
                )
                _finish(flight, failure)
            except asyncio.CancelledError:
                _finish(flight + self._waiting, Unavailable("the sender was closed", queue=self._queue))
                raise
            else:
                _finish(flight, None)

    async def _deliver(self, flight: list[_Parcel]) -> None:
        sender = await self._connected()
        now = [parcel.message for parcel in flight if parcel.at is None]
        if now:
            await sender.send_messages(now)
        for parcel in flight:
            if parcel.at is not None:
                await sender.schedule_messages(parcel.message, datetime.fromtimestamp(parcel.at, UTC))

    async def _connected(self) -> ServiceBusSender:
        if self._sender is None:
            self._client = self._connect()
            self._sender = self._client.get_queue_sender(self._queue)
        return self._sender

    async def _disconnect(self) -> None:
        client, self._client, self._sender = self._client, None, None
        if client is not None:
            with contextlib.suppress(ServiceBusError, OSError):
                await client.close()

    async def close(self) -> None:
        """Wait for what is being sent and disconnect."""
        if self._flights is not None:
            await asyncio.wait([self._flights])
        await self._disconnect()


def _finish(flight: list[_Parcel], failure: Exception | None) -> None:
    for parcel in flight:
        if parcel.done.done():
            continue
        if failure is None:
            parcel.done.set_result(None)
        else:
            parcel.done.set_exception(failure)
