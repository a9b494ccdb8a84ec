"""Step messages on their queue."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from aos.kernel.messaging.step_message import AGENT_STEPS, StepMessage

if TYPE_CHECKING:
    from azure.servicebus.aio import ServiceBusClient

    from aos.services.messaging.sender import QueueSender


class ServiceBusStepQueue:
    """The queue of steps in Service Bus; ``connect`` makes a client, again after a fault."""

    def __init__(self, connect: Callable[[], ServiceBusClient]) -> None:
        self._connect = connect
        self._sender: QueueSender | None = None

    async def send(self, message: StepMessage, *, at: float | None = None) -> None:
        """Send a message, now or at a later time (unix seconds); return when the broker has it."""
        if self._sender is None:
            from aos.services.messaging.sender import QueueSender  # noqa: PLC0415 - 0.2 s, only for who sends

            self._sender = QueueSender(self._connect, AGENT_STEPS)
        await self._sender.send(json.dumps(message.to_json()), message.message_id, at=at)

    async def close(self) -> None:
        """Send what is waiting and disconnect."""
        if self._sender is not None:
            await self._sender.close()
