"""Step messages on their queue."""

from __future__ import annotations

import json
from collections.abc import Callable

from azure.servicebus.aio import ServiceBusClient

from aos.kernel.messaging.step_message import AGENT_STEPS, StepMessage
from aos.services.messaging.sender import QueueSender


class ServiceBusStepQueue:
    """The queue of steps in Service Bus; ``connect`` makes a client, again after a fault."""

    def __init__(self, connect: Callable[[], ServiceBusClient]) -> None:
        self._sender = QueueSender(connect, AGENT_STEPS)

    async def send(self, message: StepMessage, *, at: float | None = None) -> None:
        """Send a message, now or at a later time (unix seconds); return when the broker has it."""
        await self._sender.send(json.dumps(message.to_json()), message.message_id, at=at)

    async def close(self) -> None:
        """Send what is waiting and disconnect."""
        await self._sender.close()
