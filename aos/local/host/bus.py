"""Service Bus triggers: peek-lock, renewed while the function runs, completed only when it succeeded."""

import asyncio
import json
from collections.abc import Awaitable, Iterable
from datetime import UTC, datetime
from typing import Any

from aos.local.host.broker import queue_name
from aos.local.host.calls import WorkerLostError
from aos.local.host.errors import HostError
from aos.local.host.functions import Function
from aos.local.host.hostjson import BusSettings
from aos.local.host.supervisor import Supervisor
from aos.local.servicebus import Broker, BrokerError, EntityNotFoundError, LockLostError, ReceivedMessage

_POLL_S = 30.0
_SHORTEST_RENEWAL_S = 0.05


class BusTriggers:
    """Every Service Bus trigger of the app."""

    def __init__(
        self,
        functions: Iterable[Function],
        broker: Broker,
        settings: BusSettings,
        supervisor: Supervisor,
    ) -> None:
        self._triggers = [BusTrigger(each, broker, settings, supervisor) for each in functions]
        self._closing: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to receive."""
        for trigger in self._triggers:
            trigger.start()

    def pause(self) -> None:
        """Receive no more; messages being handled are settled when their functions end."""
        self._closing = [asyncio.create_task(trigger.pause()) for trigger in self._triggers]

    async def close(self) -> None:
        """Give back what is still locked."""
        if not self._closing:
            self.pause()
        await asyncio.gather(*self._closing)
        for trigger in self._triggers:
            await trigger.close()


class BusTrigger:
    """One function and the queue that it listens to."""

    def __init__(
        self,
        function: Function,
        broker: Broker,
        settings: BusSettings,
        supervisor: Supervisor,
    ) -> None:
        self._function = function
        self._settings = settings
        self._supervisor = supervisor
        self._queue = queue_name(function)
        try:
            self._receiver = broker.receiver(self._queue)
        except EntityNotFoundError as error:
            raise HostError(
                f"function {function.name}: queue {self._queue!r} is not in the topology"
            ) from error
        chosen = function.properties.get("autoCompleteMessages", function.properties.get("autoComplete"))
        self._auto_complete = settings.auto_complete if chosen is None else bool(chosen)
        self._handling: set[asyncio.Task[None]] = set()
        self._free = asyncio.Event()
        self._paused = False
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to receive."""
        self._loop = self._supervisor.spawn(self._receive())

    async def pause(self) -> None:
        """Receive no more. The receive under way is ended, not cancelled: what it had locked comes back."""
        self._paused = True
        self._free.set()
        await self._receiver.close()

    async def close(self) -> None:
        """Wait until every message is settled (the worker is gone by now: nothing runs on)."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await asyncio.gather(*self._handling)

    async def _receive(self) -> None:
        while not self._paused:
            await self._supervisor.ready()
            room = self._settings.max_concurrent_calls - len(self._handling)
            if room <= 0:
                self._free.clear()
                await self._free.wait()
                continue
            for message in await self._receiver.receive(room, _POLL_S):
                task = self._supervisor.spawn(self._handle(message))
                self._handling.add(task)
                task.add_done_callback(self._handled)

    def _handled(self, task: asyncio.Task[None]) -> None:
        self._handling.discard(task)
        self._free.set()

    async def _handle(self, message: ReceivedMessage) -> None:
        if self._paused:
            await self._settle(message, self._receiver.abandon(message.lock_token))
            return
        renewal = asyncio.create_task(self._renew(message))
        try:
            result = await self._supervisor.invoke(
                "bus",
                self._function,
                message.body,
                metadata=trigger_metadata(message),
                note=f"{self._queue} delivery {message.delivery_count + 1}",
            )
            failed = result.failure is not None
        except WorkerLostError:
            failed = True
        finally:
            renewal.cancel()
        if failed:
            await self._settle(message, self._receiver.abandon(message.lock_token))
        elif self._auto_complete:
            await self._settle(message, self._receiver.complete(message.lock_token))

    async def _settle(self, message: ReceivedMessage, settling: Awaitable[None]) -> None:
        """A message that cannot be settled is delivered again: say so, the app must bear it."""
        try:
            await settling
        except LockLostError:
            self._say(message, "its lock was lost before it was settled")
        except BrokerError as error:
            self._say(message, f"it could not be settled ({error})")

    async def _renew(self, message: ReceivedMessage) -> None:
        """Keep the lock for as long as the function may run."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.lock_renewal_s
        locked_until = message.locked_until_utc
        while True:
            left = (locked_until - datetime.now(UTC)).total_seconds()
            await asyncio.sleep(max(left / 2, _SHORTEST_RENEWAL_S))
            if loop.time() >= end:
                return
            try:
                locked_until = await self._receiver.renew_lock(message.lock_token)
            except LockLostError:
                self._say(message, "its lock was lost while the function ran")
                return
            except BrokerError:
                await asyncio.sleep(_SHORTEST_RENEWAL_S)

    def _say(self, message: ReceivedMessage, what: str) -> None:
        name = message.message_id or message.sequence_number
        self._supervisor.say(f"{self._queue}: message {name}: {what}; it will be delivered again")


def trigger_metadata(message: ReceivedMessage) -> dict[str, Any]:
    """A message's properties under the names that the Service Bus extension gives them."""
    properties = json.loads(json.dumps(message.application_properties, default=str))
    values: dict[str, Any] = {
        "MessageId": message.message_id or "",
        "CorrelationId": message.correlation_id,
        "ContentType": message.content_type,
        "Subject": message.subject,
        "Label": message.subject,
        "ReplyTo": message.reply_to,
        "ReplyToSessionId": message.reply_to_session_id,
        "To": message.to,
        "SessionId": message.session_id,
        "PartitionKey": message.partition_key,
        "DeadLetterReason": message.dead_letter_reason,
        "DeadLetterErrorDescription": message.dead_letter_description,
        "DeadLetterSource": message.dead_letter_source,
        "DeliveryCount": message.delivery_count + 1,
        "SequenceNumber": message.sequence_number,
        "EnqueuedSequenceNumber": message.enqueued_sequence_number,
        "EnqueuedTimeUtc": _instant(message.enqueued_time_utc),
        "ExpiresAtUtc": _instant(message.expires_at_utc),
        "LockedUntil": _instant(message.locked_until_utc),
        "LockToken": message.lock_token,
        "UserProperties": properties,
        "ApplicationProperties": properties,
    }
    return {name: value for name, value in values.items() if value is not None}


def _instant(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment else None
