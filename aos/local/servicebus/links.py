"""Links: where a session's transfers go to and come from."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aos.local.servicebus import content as sections
from aos.local.servicebus.amqp_types import Described
from aos.local.servicebus.content import Content
from aos.local.servicebus.errors import (
    BrokerError,
    DecodeError,
    InvalidFieldError,
    TransferLimitError,
)
from aos.local.servicebus.intake import Destination, accept
from aos.local.servicebus.message import Message
from aos.local.servicebus.modification import properties_to_modify
from aos.local.servicebus.performatives import (
    ACCEPTED,
    RECEIVER,
    RELEASED,
    Attach,
    Detach,
    Disposition,
    Flow,
    Transfer,
    error_value,
    rejected,
)
from aos.local.servicebus.queues import Queue

if TYPE_CHECKING:
    import asyncio

    from aos.local.servicebus.amqp_session import Session

_CREDIT = 1000
_SETTLED_MODE = 1
_AT_ONCE = 200  # messages locked before it is seen whether the client still reads
_MOST_WAITING_BYTES = 64 * 1024 * 1024  # of responses on one link
_MAX_TRANSFER_BYTES = sections.MAX_BATCH_BYTES + 64 * 1024


class Link:
    """One end of a link; `path` is the entity or node that it is attached to."""

    def __init__(self, session: "Session", attach: Attach, path: str) -> None:
        self.session = session
        self.attach = attach
        self.handle = attach.handle
        self.path = path
        self.closed = False
        self.delivery_count = attach.initial_delivery_count or 0

    def flow(self, flow: Flow) -> None:
        """The peer's view of the link's credit."""

    def transfer(self, transfer: Transfer, payload: bytes) -> None:
        """A message, or a part of it."""
        raise InvalidFieldError("a transfer on a link that sends to the client")

    def close(self) -> None:
        """The link is detached, or its session or connection is gone."""
        self.closed = True

    def refuse(self, error: BrokerError) -> None:
        """Detach with an error."""
        if not self.closed:
            self.session.drop(self)
            self.session.send(Detach(self.handle, True, error_value(error)))


class IncomingLink(Link, ABC):
    """The client sends; `receive` handles a whole message and answers through `settle`."""

    def __init__(self, session: "Session", attach: Attach, path: str) -> None:
        super().__init__(session, attach, path)
        self._parts: list[bytes] = []
        self._size = 0
        self._first: Transfer | None = None
        self._outstanding = 0
        self._granted = 0

    def grant(self) -> None:
        """Give the sender credit for what is not under way."""
        self._granted = max(0, _CREDIT - self._outstanding)
        self.session.send_flow(self.handle, self.delivery_count, self._granted)

    def flow(self, flow: Flow) -> None:
        """A sender that asks for an echo gets one."""
        if flow.echo:
            self.grant()

    def transfer(self, transfer: Transfer, payload: bytes) -> None:
        """Gather the parts of a message; what is far too large is dropped at once and refused at its end."""
        if self._first is None:
            if transfer.delivery_id is None:
                raise InvalidFieldError("the first transfer of a delivery without a delivery id")
            self._first = transfer
        self._size += len(payload)
        if self._size <= _MAX_TRANSFER_BYTES:
            self._parts.append(payload)
        if transfer.more and not transfer.aborted:
            return
        first, raw, size = self._first, b"".join(self._parts), self._size
        self._parts, self._size, self._first = [], 0, None
        self.delivery_count += 1
        self._granted -= 1
        if self._granted < -_CREDIT:
            raise TransferLimitError(f"more than {_CREDIT} messages beyond the credit")
        if not transfer.aborted:
            self._outstanding += 1
            self._handle(first, transfer.settled or first.settled or False, raw, size)

    def _handle(self, first: Transfer, settled: bool, raw: bytes, size: int) -> None:
        delivery_id = first.delivery_id or 0

        def settle(error: BrokerError | None) -> None:
            self._outstanding -= 1
            if self.closed:
                return
            if not settled:
                state = ACCEPTED if error is None else rejected(error)
                self.session.send(Disposition(RECEIVER, delivery_id, delivery_id, True, state))
            if self._granted <= _CREDIT // 2:
                self.grant()

        try:
            sections.check_size(size, self.limit(first))
            self.receive(raw, first.message_format == sections.BATCH_FORMAT, settle)
        except BrokerError as error:
            settle(error)

    def limit(self, first: Transfer) -> int:
        """The size that this transfer may have."""
        batch = first.message_format == sections.BATCH_FORMAT
        return sections.MAX_BATCH_BYTES if batch else sections.MAX_MESSAGE_BYTES

    @abstractmethod
    def receive(self, raw: bytes, batch: bool, settle: Callable[[BrokerError | None], None]) -> None:
        """Handle a whole message; BrokerErrors raised here refuse it."""


class SendingLink(IncomingLink):
    """The client sends to a queue or topic."""

    def __init__(self, session: "Session", attach: Attach, path: str, destination: Destination) -> None:
        super().__init__(session, attach, path)
        self._destination = destination

    def receive(self, raw: bytes, batch: bool, settle: Callable[[BrokerError | None], None]) -> None:
        """Accept the message, or all of a batch."""
        contents = sections.batch_contents(raw) if batch else [Content.parse(raw)]
        for content in contents:
            sections.check_size(len(content.raw), sections.MAX_MESSAGE_BYTES)
        done = accept(self._destination, contents, self.session.journal)
        done.add_done_callback(lambda future: settle(_broker_error(future)))


class RequestLink(IncomingLink):
    """The client sends requests to a node ($cbs or $management)."""

    def __init__(
        self, session: "Session", attach: Attach, path: str, answer: Callable[["RequestLink", Content], None]
    ) -> None:
        super().__init__(session, attach, path)
        self._answer = answer

    def limit(self, first: Transfer) -> int:
        """A request may schedule a whole batch."""
        return sections.MAX_BATCH_BYTES + 32 * 1024

    def receive(self, raw: bytes, batch: bool, settle: Callable[[BrokerError | None], None]) -> None:
        """Hand the request over."""
        content = Content.parse(raw)
        content.property_fields()  # without which no answer would find its way back
        settle(None)
        self._answer(self, content)


class OutgoingLink(Link):
    """The client receives."""

    def __init__(self, session: "Session", attach: Attach, path: str) -> None:
        super().__init__(session, attach, path)
        self.delivery_count = 0
        self.credit = 0
        self.draining = False

    def flow(self, flow: Flow) -> None:
        """Take over the receiver's credit (serial number arithmetic, as its count may lag ours)."""
        if flow.link_credit is not None:
            credit = ((flow.delivery_count or 0) + flow.link_credit - self.delivery_count) & 0xFFFFFFFF
            self.credit = credit if credit < 0x80000000 else 0
        self.draining = bool(flow.drain)
        self.credit_changed()
        if flow.echo and not flow.drain:
            self.session.send_flow(self.handle, self.delivery_count, self.credit)

    def credit_changed(self) -> None:
        """More or less can be sent."""

    def send_message(self, tag: bytes | None, payload: bytes, *, settled: bool) -> int:
        """Send a message against one credit; returns its delivery id."""
        self.credit -= 1
        self.delivery_count += 1
        return self.session.send_message(self.handle, tag, payload, settled=settled)

    def finish_drain(self) -> None:
        """Use up the credit that a draining receiver still has."""
        self.draining = False
        self.delivery_count += self.credit
        self.credit = 0
        self.session.send_flow(self.handle, self.delivery_count, 0, drain=True)


class ResponseLink(OutgoingLink):
    """The client receives the responses of a node."""

    def __init__(self, session: "Session", attach: Attach, path: str) -> None:
        super().__init__(session, attach, path)
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0

    def respond(self, response: bytes) -> None:
        """Send as soon as there is credit and the client reads; detach from one that lets too much wait."""
        self._waiting.append(response)
        self._waiting_bytes += len(response)
        self.credit_changed()
        if self._waiting_bytes > _MOST_WAITING_BYTES:
            self.refuse(TransferLimitError(f"{self.path}: too many responses wait for the client"))

    def credit_changed(self) -> None:
        """Send what waits."""
        while self._waiting and self.credit > 0 and self.session.writable and not self.closed:
            response = self._waiting.popleft()
            self._waiting_bytes -= len(response)
            self.send_message(self.delivery_count.to_bytes(4), response, settled=True)
        if self.draining:
            self.finish_drain()


class ReceivingLink(OutgoingLink):
    """The client receives from a queue: a consumer with link credit."""

    def __init__(self, session: "Session", attach: Attach, path: str, queue: Queue) -> None:
        super().__init__(session, attach, path)
        self.queue = queue
        self.removes = attach.snd_settle_mode == _SETTLED_MODE
        self._reserved = 0
        self.join()

    def join(self) -> None:
        """Compete for the queue's messages."""
        self.queue.attach(self)

    def wanted(self) -> int:
        """How much credit is not yet spoken for."""
        if self.closed or not self.session.writable:
            return 0
        return min(self.credit, self.session.remote_window, _AT_ONCE) - self._reserved

    def reserve(self, count: int) -> None:
        """So many messages are being locked."""
        self._reserved += count

    def unreserve(self, count: int) -> None:
        """So many were not locked."""
        self._reserved -= count
        self._drain_if_done()

    def deliver(self, message: Message) -> bool:
        """Send it, unless the link or its credit has gone meanwhile."""
        self._reserved -= 1
        sent = not self.closed and self.credit > 0
        if sent:
            tag = message.lock_token  # the service gives no tag to what is settled already
            delivery_id = self.send_message(tag, message.encode_delivery(), settled=self.removes)
            if tag is not None:
                self.session.remember(delivery_id, self, tag)
        self._drain_if_done()
        return sent

    def credit_changed(self) -> None:
        """Compete for messages."""
        self.queue.dispatch()
        self._drain_if_done()

    def settle(self, tag: bytes, state: Any) -> "asyncio.Future[None]":
        """Apply the outcome that the receiver chose."""
        code = state.descriptor if isinstance(state, Described) else RELEASED.descriptor
        fields = state.value if isinstance(state, Described) and isinstance(state.value, list) else []
        if code == 0x24:
            return self.queue.complete(tag)
        if code == 0x25:
            return self.queue.dead_letter(tag, *_dead_lettering(fields))
        if code == 0x26:
            return self.queue.release(tag)
        if code == 0x27:
            _failed, undeliverable_here, annotations = (*fields, None, None, None)[:3]
            settle = self.queue.defer if undeliverable_here is True else self.queue.abandon
            return settle(tag, properties_to_modify(annotations))
        raise InvalidFieldError(f"unknown outcome {code!r}")

    def close(self) -> None:
        """Stop competing; messages sent already stay locked until their locks expire."""
        super().close()
        self.queue.detach(self)

    def _drain_if_done(self) -> None:
        if self.draining and self._reserved == 0 and not self.closed:
            self.finish_drain()


def _dead_lettering(fields: list[Any]) -> tuple[str | None, str | None, dict[str, Any]]:
    """Reason, description and properties to modify, from the error of a rejected outcome."""
    error = fields[0].value if fields and isinstance(fields[0], Described) else []
    if not isinstance(error, list):
        raise DecodeError("a rejected outcome whose error is no list")
    condition, description, info = (*error, None, None, None)[:3]
    properties = properties_to_modify(info)
    reason = properties.pop("DeadLetterReason", None)
    if reason is None and condition != "com.microsoft:dead-letter":
        reason = condition
    detail = properties.pop("DeadLetterErrorDescription", description)
    return (_text(reason), _text(detail), properties)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _broker_error(future: "asyncio.Future[Any]") -> BrokerError | None:
    error = future.exception()
    return error if isinstance(error, BrokerError) else None
