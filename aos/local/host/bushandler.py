"""A Service Bus function and its messages: invoked, then completed when it succeeded, else abandoned."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from aos.local.host.busentities import is_batch
from aos.local.host.busmessages import batch_body, batch_metadata, trigger_metadata, whole_message
from aos.local.host.calls import Result, WorkerLostError
from aos.local.host.functions import Function
from aos.local.host.hostjson import BusSettings
from aos.local.host.settlements import Settlements
from aos.local.host.supervisor import Supervisor
from aos.local.servicebus import BrokerError, LockLostError, ReceivedMessage, Receiver, SessionLockLostError


class BusHandler:
    """Hands messages of one entity to one function, and settles them by what came of it."""

    def __init__(
        self,
        function: Function,
        entity: str,
        settings: BusSettings,
        supervisor: Supervisor,
        settlements: Settlements,
    ) -> None:
        self.entity = entity
        self.settings = _own(function, settings)
        self.supervisor = supervisor
        self._settlements = settlements
        self._function = function
        self._batch = is_batch(function)

    async def handle(self, receiver: Receiver, messages: Sequence[ReceivedMessage]) -> None:
        """Run the function for the messages (one, unless it takes batches) and settle what it did not."""
        with self._settlements.holding(receiver, messages) as unsettled:
            try:
                failed = (await self._invoke(messages)).failure is not None
            except WorkerLostError:
                failed = True
        if failed:
            await self.settle(list(unsettled.values()), receiver.abandon)
        elif self.settings.auto_complete:
            await self.settle(list(unsettled.values()), receiver.complete)

    async def settle(
        self, messages: Sequence[ReceivedMessage], how: Callable[[str], Awaitable[None]]
    ) -> None:
        """Settle each; one that cannot be is delivered again, which is said: the app must bear it."""
        await asyncio.gather(*(self._settle(message, how) for message in messages))

    def holds(self, message: ReceivedMessage) -> bool:
        """Whether the function has the message and has not settled it by itself."""
        return self._settlements.unsettled(message.lock_token)

    def say(self, message: ReceivedMessage, what: str) -> None:
        """Write a line about a message that will be delivered again."""
        name = message.message_id or message.sequence_number
        self.supervisor.say(f"{self.entity}: message {name}: {what}; it will be delivered again")

    async def _invoke(self, messages: Sequence[ReceivedMessage]) -> Result:
        bodies = [whole_message(each) if self._function.sdk_types else each.body for each in messages]
        if self._batch:
            body, metadata = batch_body(bodies), batch_metadata(messages)
            note = f"{self.entity} {len(messages)} messages"
        else:
            body, metadata = bodies[0], trigger_metadata(messages[0])
            note = f"{self.entity} delivery {messages[0].delivery_count + 1}"
        return await self.supervisor.invoke("bus", self._function, body, metadata=metadata, note=note)

    async def _settle(self, message: ReceivedMessage, how: Callable[[str], Awaitable[None]]) -> None:
        try:
            await how(message.lock_token)
        except (LockLostError, SessionLockLostError):
            self.say(message, "its lock was lost before it was settled")
        except BrokerError as error:
            self.say(message, f"it could not be settled ({error})")


def _own(function: Function, settings: BusSettings) -> BusSettings:
    """The settings, with those that the trigger has for itself."""
    properties = function.properties
    completes = properties.get("autoCompleteMessages", properties.get("autoComplete"))
    most = int(properties.get("maxMessageBatchSize") or settings.max_batch)
    return replace(
        settings,
        auto_complete=settings.auto_complete if completes is None else str(completes).lower() == "true",
        max_batch=most,
        min_batch=min(settings.min_batch, most),
    )
