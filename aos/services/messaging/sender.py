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

from azure.servicebus import ServiceBusMessage, ServiceBusMessageBatch
from azure.servicebus.aio import ServiceBusClient, ServiceBusSender
from azure.servicebus.exceptions import MessageSizeExceededError

from aos.kernel.errors import TooLarge, Unavailable
from aos.services.observability.metrics import PUBLISHED
from aos.services.observability.tracing import carried

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
            TooLarge: the broker takes no message of that size.
        """
        message = ServiceBusMessage(
            body,
            message_id=message_id,
            content_type="application/json",
            application_properties=dict(carried().items()),
        )
        parcel = _Parcel(message, at)
        self._waiting.append(parcel)
        if self._flights is None or self._flights.done():
            self._flights = asyncio.create_task(self._fly())
        await parcel.done
        PUBLISHED.add(1, {"queue": self._queue})

    async def _fly(self) -> None:
        while self._waiting:
            flight, self._waiting = self._waiting[:MAX_FLIGHT], self._waiting[MAX_FLIGHT:]
            try:
                await self._deliver(flight)
            except asyncio.CancelledError:
                _finish(flight + self._waiting, Unavailable("the sender was closed", queue=self._queue))
                raise
            except Exception as error:  # noqa: BLE001 - as in _disconnect
                await self._disconnect()
                _finish(
                    flight,
                    Unavailable(f"queue {self._queue} does not take messages: {error}", queue=self._queue),
                )

    async def _deliver(self, flight: list[_Parcel]) -> None:
        """Send each parcel and finish it; what is not finished when this raises was not taken."""
        sender = await self._connected()
        waiting = [parcel for parcel in flight if parcel.at is None]
        while waiting:
            batch = await sender.create_message_batch()
            packed = _pack(batch, waiting)
            if packed:
                await sender.send_messages(batch)
                _finish(waiting[:packed], None)
            else:  # larger than a batch may be, but perhaps not than a message may be
                await self._deliver_alone(sender, waiting[0])
            waiting = waiting[packed or 1 :]
        for parcel in flight:
            if parcel.at is not None:
                await self._deliver_alone(sender, parcel)

    async def _deliver_alone(self, sender: ServiceBusSender, parcel: _Parcel) -> None:
        failure = None
        try:
            if parcel.at is None:
                await sender.send_messages(parcel.message)
            else:
                await sender.schedule_messages(parcel.message, datetime.fromtimestamp(parcel.at, UTC))
        except MessageSizeExceededError:
            failure = TooLarge(f"queue {self._queue} takes no message of that size", queue=self._queue)
        _finish([parcel], failure)

    async def _connected(self) -> ServiceBusSender:
        if self._sender is None:
            self._client = self._connect()
            self._sender = self._client.get_queue_sender(self._queue)
        return self._sender

    async def _disconnect(self) -> None:
        client, self._client, self._sender = self._client, None, None
        if client is not None:
            with contextlib.suppress(Exception):  # a dead connection ends in any of them, in the SDK
                await client.close()

    async def close(self) -> None:
        """Wait for what is being sent and disconnect."""
        if self._flights is not None:
            await asyncio.wait([self._flights])
        await self._disconnect()


def _pack(batch: ServiceBusMessageBatch, parcels: list[_Parcel]) -> int:
    """Add parcels while there is room; returns how many."""
    for count, parcel in enumerate(parcels):
        try:
            batch.add_message(parcel.message)
        except MessageSizeExceededError:
            return count
    return len(parcels)


def _finish(flight: list[_Parcel], failure: Exception | None) -> None:
    for parcel in flight:
        if parcel.done.done():
            continue
        if failure is None:
            parcel.done.set_result(None)
        else:
            parcel.done.set_exception(failure)
