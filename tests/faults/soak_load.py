"""Asking for the work of a soak, over HTTP and Service Bus, again until it is acknowledged."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
from soak_ledger import Ledger
from soak_plan import Work

_INSIST_S = 120.0
_AGAIN_S = 0.2
_SEND_S = 15.0
_AT_ONCE = 24


class NotAcknowledged(Exception):
    """Something was asked for again and again, and never acknowledged."""


async def insist[T](what: str, ask: Callable[[], Awaitable[T]], *failures: type[Exception]) -> T:
    """The answer, however often asking fails."""
    deadline = time.monotonic() + _INSIST_S
    while True:
        try:
            return await ask()
        except failures as error:
            if time.monotonic() > deadline:
                raise NotAcknowledged(f"{what}: {type(error).__name__}: {error}") from error
            await asyncio.sleep(_AGAIN_S)


class Bus:
    """One sender for each queue and topic; a sender that failed is replaced."""

    def __init__(self, connection: str) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()  # the SDK's senders are not for several tasks at once
        self._open: dict[str, tuple[Any, Any]] = {}
        self.sent = 0

    async def send(self, target: str, message_id: str, body: Any, **properties: Any) -> None:
        """Send until it is acknowledged; the id keeps the queue from taking it twice."""

        async def once() -> None:
            async with self._lock:
                message = ServiceBusMessage(json.dumps(body), message_id=message_id, **properties)
                try:
                    async with asyncio.timeout(_SEND_S):
                        await (await self._sender(target)).send_messages(message)
                except BaseException:
                    await self._drop(target)
                    raise

        await insist(f"message {message_id}", once, Exception)  # the SDK has many for a dead connection
        self.sent += 1

    async def close(self) -> None:
        for target in list(self._open):
            await self._drop(target)

    async def _sender(self, target: str) -> Any:
        if target not in self._open:
            client = ServiceBusClient.from_connection_string(self._connection, retry_total=0)
            make = client.get_topic_sender if target == "news" else client.get_queue_sender
            self._open[target] = client, make(target)
        return self._open[target][1]

    async def _drop(self, target: str) -> None:
        opened = self._open.pop(target, None)
        if opened is not None:
            client, sender = opened
            for each in (sender, client):
                try:
                    async with asyncio.timeout(5):
                        await each.close()
                except Exception:  # noqa: BLE001 - it is dead, in whatever way
                    continue


class Load:
    """Does each piece of work when its time comes."""

    def __init__(self, url: str, bus: Bus, ledger: Ledger) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=20, trust_env=False)
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._bus = bus
        self._ledger = ledger
        self.asked: Counter[str] = Counter()

    async def run(self, works: list[Work]) -> None:
        """All of them, at their times from now."""
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(self._at(started + work.at_s, work))

    async def close(self) -> None:
        await self._http.aclose()

    async def start(self, name: str, given: Any, instance_id: str) -> None:
        await self._post(f"/start/{name}/{instance_id}", given)

    async def _at(self, when: float, work: Work) -> None:
        await asyncio.sleep(when - time.monotonic())
        async with self._room:
            await self._do(work)
        self.asked[work.kind] += 1

    async def _do(self, work: Work) -> None:
        match work.kind:
            case "signal":
                await self._signal(work)
            case "job":
                await self._job(work)
            case "poison":
                await self._bus.send("poison", work.id, {})
            case "orders":
                await self._in_session(work, [{"refused": each} for each in work.given])
            case "tickets":
                await self._in_session(work, [{"fails_first": each} for each in work.given])
            case "patience":
                await self.start("patience", work.given["seconds"], work.id)
                if work.given["hurry"]:
                    await self._post(f"/event/{work.id}/hurry", None)
            case "collector":
                await self.start("collector", {"wanted": work.given, "seen": []}, work.id)
                for number in range(work.given):
                    await self._event(work, number)
            case kind:
                await self.start(kind, work.given, work.id)

    async def _signal(self, work: Work) -> None:
        """Each attempt is another operation: what becomes of one that was not acknowledged is open."""

        async def once(operation: str) -> None:
            self._ledger.intend(f"@counter@{work.given}", operation)
            await self._ask(f"/signal/counter/{work.given}", operation)
            self._ledger.acknowledged(operation)

        await self._attempts(work.id, once)

    async def _event(self, work: Work, number: int) -> None:
        async def once(attempt: str) -> None:
            await self._ask(f"/event/{work.id}/item", {"number": number, "attempt": attempt})

        await self._attempts(f"{work.id}/{number}", once)

    async def _job(self, work: Work) -> None:
        target = "news" if work.given["topic"] else "jobs"
        later = {}
        if work.given["later_s"]:
            when = datetime.now(UTC) + timedelta(seconds=work.given["later_s"])
            later = {"scheduled_enqueue_time_utc": when}
        await self._bus.send(target, work.id, work.given["job"], **later)

    async def _in_session(self, work: Work, bodies: list[Any]) -> None:
        for number, body in enumerate(bodies):
            await self._bus.send(work.kind, f"{work.id}/{number}", body, session_id=work.id)

    async def _attempts(self, name: str, once: Callable[[str], Awaitable[None]]) -> None:
        attempts = 0

        async def attempt() -> None:
            nonlocal attempts
            attempts += 1
            await once(f"{name}/{attempts}")

        await insist(name, attempt, httpx.HTTPError)

    async def _post(self, path: str, given: Any) -> None:
        await insist(path, lambda: self._ask(path, given), httpx.HTTPError)

    async def _ask(self, path: str, given: Any) -> None:
        (await self._http.post(path, content=json.dumps(given))).raise_for_status()
