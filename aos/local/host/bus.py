"""Service Bus triggers: peek-lock, and settled only by what came of the function."""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from aos.local.host.busentities import is_batch, trigger_entity, wants_sessions
from aos.local.host.bushandler import BusHandler
from aos.local.host.busqueues import BatchTrigger, MessageTrigger
from aos.local.host.bussessions import SessionBatchTrigger, SessionTrigger
from aos.local.host.errors import HostError
from aos.local.host.functions import Function
from aos.local.host.hostjson import BusSettings
from aos.local.host.settlements import Settlements
from aos.local.host.supervisor import Supervisor
from aos.local.servicebus import Broker, EntityNotFoundError


class _BusTrigger(Protocol):
    def start(self) -> None: ...

    async def pause(self) -> None: ...

    async def close(self) -> None: ...


class BusTriggers:
    """Every Service Bus trigger of the app."""

    def __init__(
        self,
        functions: Iterable[Function],
        broker: Broker,
        settings: BusSettings,
        supervisor: Supervisor,
        settlements: Settlements,
    ) -> None:
        self._triggers = [
            _trigger(broker, BusHandler(each, trigger_entity(each), settings, supervisor, settlements), each)
            for each in functions
        ]
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


def _trigger(broker: Broker, handler: BusHandler, function: Function) -> _BusTrigger:
    entity, sessions = handler.entity, wants_sessions(function)
    kind = "queue" if function.properties.get("queueName") else "subscription"
    where = f"function {function.name}, binding {function.properties.get('name')!r}: {kind} {entity!r}"
    try:
        required = broker.requires_sessions(entity)
    except EntityNotFoundError as error:
        raise HostError(f"{where} is not in the topology", code=1) from error
    if required != sessions:
        problem = "requires sessions: set" if required else "has no sessions: do not set"
        raise HostError(f"{where} {problem} is_sessions_enabled", code=1)
    if sessions:
        by_session = SessionBatchTrigger if is_batch(function) else SessionTrigger
        return by_session(handler, broker)
    without = BatchTrigger if is_batch(function) else MessageTrigger
    return without(handler, broker.receiver(entity))
