"""A consumer of the soak's message sessions: one session after the other, one message at a time.

Whatever fails, it begins again with the next session: a message that it did not settle comes back.
"""

import asyncio
import os
import sys
from contextlib import AsyncExitStack

from azure.servicebus import NEXT_AVAILABLE_SESSION
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.exceptions import OperationTimeoutError, ServiceBusError
from soak_ledger import Ledger

QUEUE = "orders"
AT_ONCE = 2
_WAIT_S = 2
_STUCK_S = 40


async def consume(ledger: Ledger) -> None:
    """Take sessions for as long as the process lives."""
    while True:
        try:
            async with asyncio.timeout(_STUCK_S), AsyncExitStack() as stack:
                client = ServiceBusClient.from_connection_string(os.environ["SOAK_BUS"], retry_total=0)
                await stack.enter_async_context(client)
                await take_session(client, ledger)
        except (ServiceBusError, OSError, TimeoutError, ValueError) as error:
            if not isinstance(error, OperationTimeoutError):  # no session has messages
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            await asyncio.sleep(0.2)


async def take_session(client: ServiceBusClient, ledger: Ledger) -> None:
    """Handle the messages of the next session until none comes."""
    session = client.get_queue_receiver(QUEUE, session_id=NEXT_AVAILABLE_SESSION, max_wait_time=_WAIT_S)
    async with session as receiver:
        while messages := await receiver.receive_messages(1, max_wait_time=_WAIT_S):
            for message in messages:
                which = (QUEUE, message.session_id, str(message.message_id), message.sequence_number or 0)
                ledger.delivery(*which, "taken")
                await receiver.complete_message(message)
                ledger.delivery(*which, "settled")


async def main() -> None:
    ledger = Ledger(os.environ["SOAK_LEDGER"])
    await asyncio.gather(*(consume(ledger) for _ in range(AT_ONCE)))


if __name__ == "__main__":
    asyncio.run(main())
