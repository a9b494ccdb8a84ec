"""Service Bus triggers without sessions: messages one by one, several at once, or in batches."""

import asyncio
from collections.abc import Sequence

from aos.local.host.bushandler import BusHandler
from aos.local.host.locks import keep_locked
from aos.local.servicebus import LockLostError, ReceivedMessage, Receiver

_POLL_S = 30.0


class MessageTrigger:
    """One function and the queue or subscription that it listens to, one message a call."""

    def __init__(self, handler: BusHandler, receiver: Receiver) -> None:
        self._handler = handler
        self._receiver = receiver
        self._handling: set[asyncio.Task[None]] = set()
        self._free = asyncio.Event()
        self._paused = False
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to receive."""
        self._loop = self._handler.supervisor.spawn(self._receive())

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
            await self._handler.supervisor.ready()
            if not self._receiver.open:
                return
            room = self._handler.settings.max_concurrent_calls - len(self._handling)
            if room <= 0:
                self._free.clear()
                await self._free.wait()
                continue
            for message in await self._receiver.receive(room, _POLL_S):
                self._spawn([message])

    def _spawn(self, messages: Sequence[ReceivedMessage]) -> "asyncio.Task[None]":
        task = self._handler.supervisor.spawn(self._handle(messages))
        self._handling.add(task)
        task.add_done_callback(self._handled)
        return task

    def _handled(self, task: asyncio.Task[None]) -> None:
        self._handling.discard(task)
        self._free.set()

    async def _handle(self, messages: Sequence[ReceivedMessage]) -> None:
        if self._paused:
            await self._handler.settle(messages, self._receiver.release)
        else:
            await self._run(messages)

    async def _run(self, messages: Sequence[ReceivedMessage]) -> None:
        renewal = asyncio.create_task(self._keep(messages[0]))
        try:
            await self._handler.handle(self._receiver, messages)
        finally:
            renewal.cancel()

    async def _keep(self, message: ReceivedMessage) -> None:
        try:
            await keep_locked(
                lambda: self._receiver.renew_lock(message.lock_token),
                message.locked_until_utc,
                self._handler.settings.lock_renewal_s,
            )
        except LockLostError:
            if not self._handler.holds(message):
                return  # the function has settled it
            self._handler.say(message, "its lock was lost while the function ran")


async def gather_batch(handler: BusHandler, receiver: Receiver, wait_s: float) -> list[ReceivedMessage]:
    """The next batch, [] when nothing came in time.

    With a least size it waits for more: until `maxBatchWaitTime` is over, or the receiver is stopped.
    """
    settings, loop = handler.settings, asyncio.get_running_loop()
    batch = await receiver.receive(settings.max_batch, wait_s)
    end = loop.time() + settings.max_batch_wait_s
    while batch and len(batch) < settings.min_batch and receiver.open and (left := end - loop.time()) > 0:
        batch += await receiver.receive(settings.max_batch - len(batch), left)
    return batch


class BatchTrigger(MessageTrigger):
    """One function and its queue or subscription, a batch a call and one call at a time.

    As in the extension the locks of a batch are not renewed.
    """

    async def _receive(self) -> None:
        while not self._paused:
            await self._handler.supervisor.ready()
            if not self._receiver.open:
                return
            batch = await gather_batch(self._handler, self._receiver, _POLL_S)
            if batch:
                await asyncio.wait([self._spawn(batch)])

    async def _run(self, messages: Sequence[ReceivedMessage]) -> None:
        await self._handler.handle(self._receiver, messages)
