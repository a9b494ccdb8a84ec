"""Sessions of a connection: windows, delivery ids, and the links attached to them."""

from functools import partial
from typing import TYPE_CHECKING, Any

from aos.local.servicebus.amqp_types import Described, Symbol, UInt
from aos.local.servicebus.content import MAX_BATCH_BYTES, MAX_MESSAGE_BYTES, Content
from aos.local.servicebus.errors import (
    BrokerError,
    InvalidFieldError,
    NotAllowedError,
    NotImplementedByBrokerError,
    UnattachedHandleError,
)
from aos.local.servicebus.journal import Journal
from aos.local.servicebus.links import (
    IncomingLink,
    Link,
    OutgoingLink,
    ReceivingLink,
    RequestLink,
    ResponseLink,
    SendingLink,
)
from aos.local.servicebus.management import CBS
from aos.local.servicebus.message_sessions import SessionQueue
from aos.local.servicebus.performatives import (
    RECEIVER,
    SENDER,
    Attach,
    Begin,
    Detach,
    Disposition,
    Flow,
    Performative,
    Transfer,
    encode_frame,
    encode_transfer,
    error_value,
    rejected,
)
from aos.local.servicebus.queues import Queue
from aos.local.servicebus.security import entity_path
from aos.local.servicebus.session_links import SESSION_FILTER, SessionReceivingLink

if TYPE_CHECKING:
    import asyncio

    from aos.local.servicebus.connection import Connection

_WINDOW = 0x7FFFFFFF
_TRANSFER_OVERHEAD = 64
_MOST_UNSETTLED = 100_000
_HANDLE_MAX = 255
_SOURCE, _TARGET = 0x28, 0x29
_COORDINATOR = (0x30, "amqp:coordinator:list")
MANAGEMENT_SUFFIX = "/$management"


class Session:
    """One AMQP session; the broker answers on the channel that the client chose."""

    def __init__(self, connection: "Connection", channel: int, begin: Begin) -> None:
        self.connection = connection
        self.channel = channel
        self.unsettled: dict[int, tuple[ReceivingLink, bytes]] = {}
        self.remote_window = begin.incoming_window
        self._next_incoming_id = begin.next_outgoing_id
        self._next_outgoing_id = 0  # counts transfers
        self._next_delivery_id = 0
        self._links: dict[int, Link] = {}
        self._gone: set[int] = set()  # handles whose last frames may still be on their way
        self.send(Begin(channel, 0, _WINDOW, _WINDOW, _HANDLE_MAX))

    @property
    def journal(self) -> Journal:
        """Where what is accepted here is written."""
        return self.connection.broker.journal

    @property
    def writable(self) -> bool:
        """Whether the client reads what is sent to it."""
        return self.connection.writable

    def handle(self, frame: Performative, payload: bytes) -> None:
        """A frame on this session's channel. A fault of one link detaches that link only."""
        if isinstance(frame, Attach):
            self._attach(frame)
        elif isinstance(frame, Flow):
            self._flow(frame)
        elif isinstance(frame, Transfer):
            self._transfer(frame, payload)
        elif isinstance(frame, Disposition):
            self._disposition(frame)
        elif isinstance(frame, Detach):
            self._detach(frame)
        else:
            raise InvalidFieldError(f"a {type(frame).__name__} frame does not belong here")

    def close(self) -> None:
        """The session or its connection is gone."""
        for link in list(self._links.values()):
            link.close()
        self._links.clear()
        self.unsettled.clear()

    def drop(self, link: Link) -> None:
        """Forget a link."""
        link.close()
        self._links.pop(link.handle, None)
        self._gone.add(link.handle)
        gone = [number for number, (owner, _) in self.unsettled.items() if owner is link]
        for number in gone:
            del self.unsettled[number]

    def send(self, performative: Performative) -> None:
        """Send a frame on this channel."""
        self.connection.write(encode_frame(self.channel, performative))

    def send_flow(
        self,
        handle: int | None = None,
        delivery_count: int | None = None,
        credit: int | None = None,
        drain: bool | None = None,
    ) -> None:
        """Tell the session's windows and, with a handle, a link's credit."""
        self.send(
            Flow(
                self._next_incoming_id & 0xFFFFFFFF,
                _WINDOW,
                self._next_outgoing_id & 0xFFFFFFFF,
                _WINDOW,
                handle,
                None if delivery_count is None else delivery_count & 0xFFFFFFFF,
                credit,
                drain=drain,
            )
        )

    def send_message(self, handle: int, tag: bytes | None, payload: bytes, *, settled: bool) -> int:
        """Send a message in as many transfers as it needs; returns its delivery id."""
        delivery_id = self._next_delivery_id & 0xFFFFFFFF
        self._next_delivery_id += 1
        room = self.connection.max_frame_size - _TRANSFER_OVERHEAD
        start = 0
        while True:
            part = payload[start : start + room]
            start += room
            more = start < len(payload)
            self.connection.write(
                encode_transfer(self.channel, handle, delivery_id, tag, part, settled=settled, more=more)
            )
            self._next_outgoing_id += 1
            self.remote_window -= 1
            if not more:
                return delivery_id

    def remember(self, delivery_id: int, link: ReceivingLink, tag: bytes) -> None:
        """A delivery that the client is to settle; it may forget to, for ever."""
        self.unsettled[delivery_id] = (link, tag)
        if len(self.unsettled) > _MOST_UNSETTLED:
            del self.unsettled[next(iter(self.unsettled))]

    def response_link(self, node: str, reply_to: str | None) -> ResponseLink | None:
        """The link on which a node's answers go to the client."""
        found = None
        for link in self._links.values():
            if isinstance(link, ResponseLink) and link.path == node:
                if _address(link.attach.target) == reply_to:
                    return link
                found = link
        return found

    def check_grants(self) -> None:
        """Detach the links whose tokens have expired."""
        for link in list(self._links.values()):
            try:
                self._authorize(link.path)
            except BrokerError as error:
                link.refuse(error)

    def resume(self) -> None:
        """The client reads again."""
        for link in list(self._links.values()):
            if isinstance(link, OutgoingLink):
                link.credit_changed()

    def _attach(self, frame: Attach) -> None:
        if frame.handle in self._links or frame.handle > _HANDLE_MAX:
            raise InvalidFieldError(f"handle {frame.handle} is in use or too high")
        try:
            link = self._new_link(frame)
        except BrokerError as error:
            self._refuse_attach(frame, error)
            return
        self._links[frame.handle] = link
        self._gone.discard(frame.handle)
        if isinstance(link, SessionReceivingLink):
            link.acquire(partial(self._acquired, frame, link))
            return
        self.send(self._attach_answer(frame, link))
        if isinstance(link, IncomingLink):
            link.grant()

    def _acquired(self, frame: Attach, link: SessionReceivingLink, error: BrokerError | None) -> None:
        """A link that waited for a message session has one, or will not get one."""
        if error is not None:
            self.drop(link)
            self._refuse_attach(frame, error)
            return
        answer = self._attach_answer(frame, link)
        address = _address(frame.source)
        answer.source = _terminus(_SOURCE, Described(_SOURCE, [address, *[None] * 6, link.filters()]))
        answer.properties = link.properties()
        self.send(answer)

    def _new_link(self, frame: Attach) -> Link:
        if isinstance(frame.target, Described) and frame.target.descriptor in _COORDINATOR:
            raise NotImplementedByBrokerError("transactions are not supported")
        address = _address(frame.source if frame.role == RECEIVER else frame.target)
        if address is None:
            raise InvalidFieldError("an attach without an address")
        path = entity_path(address)
        self._authorize(path)
        namespace = self.connection.broker.namespace
        if path == CBS or path.lower().endswith(MANAGEMENT_SUFFIX):
            if path != CBS:
                namespace.holder(path[: -len(MANAGEMENT_SUFFIX)])
            if frame.role == RECEIVER:
                return ResponseLink(self, frame, path)
            return RequestLink(self, frame, path, self._answer)
        if frame.role == RECEIVER:
            return self._receiving_link(frame, path, namespace.queue(path))
        return SendingLink(self, frame, path, namespace.destination(path))

    def _receiving_link(self, frame: Attach, path: str, queue: Queue) -> Link:
        fields = _fields(frame.source)
        filters = fields[7] if len(fields) > 7 and isinstance(fields[7], dict) else {}
        if isinstance(queue, SessionQueue):
            if SESSION_FILTER not in filters:
                raise NotAllowedError(f"{path} requires sessions: a receiver must ask for one")
            return SessionReceivingLink(self, frame, path, queue, filters[SESSION_FILTER])
        if SESSION_FILTER in filters:
            raise NotAllowedError(f"{path} has no sessions to receive from")
        return ReceivingLink(self, frame, path, queue)

    def _authorize(self, path: str) -> None:
        if path != CBS:
            self.connection.authorize(path)

    def _answer(self, link: RequestLink, content: Content) -> None:
        self.connection.answer(self, link.path, content)

    def _attach_answer(self, frame: Attach, link: Link) -> Attach:
        incoming = isinstance(link, IncomingLink)
        return Attach(
            frame.name,
            frame.handle,
            not frame.role,
            frame.snd_settle_mode,
            frame.rcv_settle_mode,
            _terminus(_SOURCE, frame.source),
            _terminus(_TARGET, frame.target),
            initial_delivery_count=None if incoming else 0,
            max_message_size=MAX_MESSAGE_BYTES if incoming else None,
            properties=_BATCH_SIZE if isinstance(link, SendingLink) else None,
        )

    def _refuse_attach(self, frame: Attach, error: BrokerError) -> None:
        """An attach is refused by an answer with a null terminus, and a detach that says why."""
        self._gone.add(frame.handle)
        count = 0 if frame.role == RECEIVER else None
        self.send(Attach(frame.name, frame.handle, not frame.role, initial_delivery_count=count))
        self.send(Detach(frame.handle, True, error_value(error)))

    def _flow(self, frame: Flow) -> None:
        next_incoming_id = frame.next_incoming_id or 0
        sent_since = (self._next_outgoing_id - next_incoming_id) & 0xFFFFFFFF
        self.remote_window = frame.incoming_window - sent_since
        if frame.handle is not None:
            link = self._links.get(frame.handle)
            if link is not None:
                link.flow(frame)
            return
        self.resume()
        if frame.echo:
            self.send_flow()

    def _transfer(self, frame: Transfer, payload: bytes) -> None:
        self._next_incoming_id += 1
        link = self._links.get(frame.handle)
        if link is None:
            if frame.handle in self._gone:
                return
            raise UnattachedHandleError(f"no link is attached to handle {frame.handle}")
        try:
            link.transfer(frame, payload)
        except BrokerError as error:
            link.refuse(error)

    def _disposition(self, frame: Disposition) -> None:
        if frame.role == SENDER:
            return
        last = frame.first if frame.last is None else frame.last
        if last == frame.first:
            numbers = [frame.first] if frame.first in self.unsettled else []
        else:
            numbers = [number for number in self.unsettled if frame.first <= number <= last]
        if not numbers and not frame.settled:
            self._answer_disposition(frame.first, rejected(InvalidFieldError("no such delivery")))
        for number in numbers:
            self._settle(number, frame)

    def _settle(self, number: int, frame: Disposition) -> None:
        link, tag = self.unsettled.pop(number)
        try:
            done = link.settle(tag, frame.state)
        except BrokerError as error:
            self._answer_disposition(number, rejected(error))
            return
        outcome = _echo(frame.state)
        done.add_done_callback(partial(self._settled, number, outcome, bool(frame.settled)))

    def _settled(self, number: int, outcome: Any, silent: bool, done: "asyncio.Future[None]") -> None:
        error = done.exception()
        if silent:
            return
        self._answer_disposition(number, rejected(error) if isinstance(error, BrokerError) else outcome)

    def _answer_disposition(self, number: int, state: Any) -> None:
        self.send(Disposition(SENDER, number, number, True, state))

    def _detach(self, frame: Detach) -> None:
        link = self._links.get(frame.handle)
        if link is not None:
            self.drop(link)
            self.send(Detach(frame.handle, True))


_BATCH_SIZE = {Symbol("com.microsoft:max-message-batch-size"): UInt(MAX_BATCH_BYTES)}


def _echo(state: Any) -> Any:
    """The outcome as applied: the same kind, and never an error, which would mean it was refused."""
    return Described(state.descriptor if isinstance(state, Described) else 0x26, [])


def _fields(terminus: Any) -> list[Any]:
    value = terminus.value if isinstance(terminus, Described) else None
    return value if isinstance(value, list) else []


def _address(terminus: Any) -> str | None:
    fields = _fields(terminus)
    return fields[0] if fields and isinstance(fields[0], str) else None


def _terminus(code: int, terminus: Any) -> Described:
    """The terminus as attached: the address, and for a source the filters that were asked for."""
    fields = _fields(terminus)
    address = _address(terminus)
    answer: list[Any] = [address, UInt(0), Symbol("session-end"), UInt(0), False]
    if code == _SOURCE and len(fields) > 7 and isinstance(fields[7], dict):
        answer += [None, None, fields[7]]
    return Described(code, answer)
