"""A consumer of the soak's messages with the SDK: sessions one after the other, and a subscription.

Whatever fails, it begins again: a message that it did not settle comes back.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable

from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.exceptions import OperationTimeoutError
from soak_ledger import Ledger

SESSIONS_AT_ONCE = 2
_WAIT_S = 2
_STUCK_S = 40

type Take = Callable[[ServiceBusClient, Ledger], Awaitable[None]]


async def consume(ledger: Ledger, take: Take) -> None:
    """Take messages for as long as the process lives."""
    while True:
        try:
            async with (
                asyncio.timeout(_STUCK_S),
                ServiceBusClient.from_connection_string(os.environ["SOAK_BUS"], retry_total=0) as client,
            ):
                await take(client, ledger)
        except Exception as error:  # noqa: BLE001 - the SDK has many for a dead connection
            if not isinstance(error, OperationTimeoutError):  # no session has messages
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            await asyncio.sleep(0.2)


async def take_session(client: ServiceBusClient, ledger: Ledger) -> None:
    """Settle the messages of the next session, one at a time, until none comes."""
    session = client.get_queue_receiver("orders", session_id=NEXT_AVAILABLE_SESSION, max_wait_time=_WAIT_S)
    async with session as receiver:
        while messages := await receiver.receive_messages(1, max_wait_time=_WAIT_S):
            await settle(receiver, messages, ledger, "orders")


async def take_news(client: ServiceBusClient, ledger: Ledger) -> None:
    """Settle what the subscription got, some messages at a time, for a while."""
    async with client.get_subscription_receiver("news", "archive") as receiver:
        while messages := await receiver.receive_messages(4, max_wait_time=_WAIT_S):
            await settle(receiver, messages, ledger, "news/archive")


async def settle(
    receiver: ServiceBusReceiver, messages: list[ServiceBusReceivedMessage], ledger: Ledger, queue: str
) -> None:
    """Complete or dead-letter messages, as they say themselves."""
    for message in messages:
        ledger.delivery(queue, message, "taken")
        ledger.delivery(queue, message, "handled")
        if json.loads(str(message)).get("refused"):
            await receiver.dead_letter_message(message, reason="refused", error_description="as it asks")
        else:
            await receiver.complete_message(message)
        ledger.delivery(queue, message, "settled")


async def main() -> None:
    ledger = Ledger(os.environ["SOAK_LEDGER"])
    sessions = (consume(ledger, take_session) for _ in range(SESSIONS_AT_ONCE))
    await asyncio.gather(consume(ledger, take_news), *sessions)


if __name__ == "__main__":
    asyncio.run(main())
