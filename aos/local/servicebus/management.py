"""Requests to nodes: $cbs (put-token) and <entity>/$management."""

import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from aos.local.servicebus.amqp_types import Array, Described, Int, Symbol, Timestamp
from aos.local.servicebus.content import (
    APPLICATION_PROPERTIES,
    MAX_MESSAGE_BYTES,
    PROPERTIES,
    VALUE,
    Content,
    check_size,
)
from aos.local.servicebus.encoding import encode as encode_value
from aos.local.servicebus.errors import (
    ArgumentError,
    BrokerError,
    DecodeError,
    MessageTooLargeError,
    NotAllowedError,
    NotImplementedByBrokerError,
    SessionLockLostError,
)
from aos.local.servicebus.message import Message
from aos.local.servicebus.message_sessions import SessionQueue
from aos.local.servicebus.modification import properties_to_modify
from aos.local.servicebus.queues import Queue
from aos.local.servicebus.rule_management import described, parse_rule
from aos.local.servicebus.session_links import SessionReceivingLink
from aos.local.servicebus.topic import Subscription

if TYPE_CHECKING:
    from aos.local.servicebus.amqp_session import Session
    from aos.local.servicebus.connection import Connection

_LOGGER = logging.getLogger(__name__)

_MAX_PEEK = 250
_PEEK_BYTES = 1024 * 1024
_RECEIVE_AND_DELETE = 0
_EVERY_SESSION_MS = 253_402_300_799_999  # the last date of clients: sessions whatever their state's age
_VENDOR = "com.microsoft:"
_LINK_NAME = "associated-link-name"
CBS = "$cbs"


@dataclass(frozen=True, slots=True)
class Request:
    """One request: where it goes, what it asks, and its body."""

    connection: "Connection"
    entity: str
    operation: str
    body: dict[Any, Any]
    link_name: Any  # of the receiver that the request is made for, if the client says so

    def argument(self, name: str, kind: type) -> Any:
        """A field of the body. Raises ArgumentError if it is missing or of another type."""
        value = self.body.get(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ArgumentError(f"{self.operation}: {name!r} must be given as {kind.__name__}")
        return value

    def arguments(self, name: str, kind: type) -> list[Any]:
        """An array of the body, each item of one type."""
        values: list[Any] = self.argument(name, list)
        if not all(isinstance(value, kind) for value in values):
            raise ArgumentError(f"{self.operation}: {name!r} must hold items of type {kind.__name__}")
        return values

    def text(self, name: str) -> str | None:
        """A field of the body that may be missing, as text."""
        value = self.body.get(name)
        return None if value is None else str(value)

    @property
    def queue(self) -> Queue:
        """The queue that the request is about."""
        return self.connection.broker.namespace.queue(self.entity)

    @property
    def subscription(self) -> Subscription:
        """The subscription that the request is about."""
        return self.connection.broker.namespace.subscription(self.entity)

    @property
    def session_queue(self) -> SessionQueue:
        """The same, with sessions. Raises NotAllowedError if it has none."""
        queue = self.queue
        if not isinstance(queue, SessionQueue):
            raise NotAllowedError(f"{queue.name} has no sessions")
        return queue

    def held_session(self) -> str:
        """The session that the request is about, held by the client. Raises SessionLockLostError."""
        session_id: str = self.argument("session-id", str)
        holder = self.session_queue.holder(session_id)
        mine = isinstance(holder, SessionReceivingLink) and holder.belongs_to(self.connection, self.link_name)
        if not mine:
            raise SessionLockLostError(f"{self.entity}: session {session_id!r} is locked by another receiver")
        return session_id


async def answer(connection: "Connection", session: "Session", node: str, content: Content) -> None:
    """Carry out a request and send the response to the client's receiving link of that node."""
    fields = content.property_fields()
    try:
        if node == CBS:
            _put_token(connection, content)
            response = _response(node, fields, _Result(202, "Accepted"))
        else:
            body = await _manage(connection, node, content)
            result = _Result(204, "No content") if body is None else _Result(200, "OK", body)
            response = _response(node, fields, result)
    except BrokerError as error:
        if node == CBS:  # clients tell their users little of it
            _LOGGER.warning("a client is not let in: %s", error)
        response = _refusal(node, fields, error)
    except Exception:
        _LOGGER.exception("request to %s failed", node)
        response = _refusal(node, fields, BrokerError("the broker failed; its log says why"))
    reply_to = fields.get("reply_to")
    link = session.response_link(node, reply_to if isinstance(reply_to, str) else None)
    if link is not None:
        link.respond(response)


def _refusal(node: str, request: dict[str, Any], error: BrokerError) -> bytes:
    result = _Result(error.status, error.description, condition=error.condition)
    return _response(node, request, result)


@dataclass(frozen=True, slots=True)
class _Result:
    status: int
    description: str
    body: Any = None
    condition: str | None = None


def _response(node: str, request: dict[str, Any], result: _Result) -> bytes:
    cbs = node == CBS
    application: dict[str, Any] = {
        "status-code" if cbs else "statusCode": Int(result.status),
        "status-description" if cbs else "statusDescription": result.description,
    }
    if result.condition is not None:
        application["error-condition" if cbs else "errorCondition"] = Symbol(result.condition)
    correlation = request.get("message_id")
    to = request.get("reply_to")
    sections = (
        Described(PROPERTIES, [None, None, to, None, None, correlation]),
        Described(APPLICATION_PROPERTIES, application),
        Described(VALUE, result.body),
    )
    return b"".join(map(encode_value, sections))


def _put_token(connection: "Connection", content: Content) -> None:
    properties = content.application_properties()
    if properties.get("operation") != "put-token":
        raise NotImplementedByBrokerError(f"$cbs does not know {properties.get('operation')!r}")
    connection.authenticate(content.body().decode("utf-8", "replace"))


async def _manage(connection: "Connection", node: str, content: Content) -> Any:
    properties = content.application_properties()
    operation = properties.get("operation")
    handler = _OPERATIONS.get(operation) if isinstance(operation, str) else None
    if handler is None:
        raise NotImplementedByBrokerError(f"the operation {operation!r} is not known")
    body = content.value()
    if not isinstance(body, dict):
        raise DecodeError(f"{operation}: the body must be a map")
    entity = node.rpartition("/")[0]
    return await handler(Request(connection, entity, str(operation), body, properties.get(_LINK_NAME)))


async def _renew_lock(request: Request) -> Any:
    tokens = request.arguments("lock-tokens", uuid.UUID)
    ends = [await request.queue.renew(token.bytes_le) for token in tokens]
    return {"expirations": Array(Timestamp, ends)}


async def _peek(request: Request) -> Any:
    start = request.argument("from-sequence-number", int)
    count = min(request.argument("message-count", int), _MAX_PEEK)
    session_id = request.body.get("session-id")
    messages = request.queue.peek(start, count, session_id)
    return _message_list(messages) if messages else None


async def _renew_session_lock(request: Request) -> Any:
    until_ms = request.session_queue.renew_session(request.held_session())
    return {"expiration": Timestamp(until_ms)}


async def _get_session_state(request: Request) -> Any:
    return {"session-state": request.session_queue.state(request.held_session())}


async def _set_session_state(request: Request) -> Any:
    state = request.body.get("session-state")
    if state is not None and not isinstance(state, bytes):
        raise ArgumentError("set-session-state: the state must be binary")
    if state is not None and len(state) > MAX_MESSAGE_BYTES:
        raise MessageTooLargeError("a session's state is as large as a message at most")
    await request.session_queue.set_state(request.held_session(), state)
    return {}


async def _list_sessions(request: Request) -> Any:
    skip, top = request.argument("skip", int), request.argument("top", int)
    since_ms = request.argument("last-updated-time", int)
    ids = request.session_queue.session_ids(None if since_ms >= _EVERY_SESSION_MS else since_ms)
    page = ids[max(skip, 0) : max(skip, 0) + max(top, 0)]
    return {"skip": Int(skip + len(page)), "sessions-ids": Array(str, page)} if page else None


async def _receive_deferred(request: Request) -> Any:
    numbers = request.arguments("sequence-numbers", int)
    remove = request.body.get("receiver-settle-mode") == _RECEIVE_AND_DELETE
    queue = request.queue
    session_id = request.held_session() if isinstance(queue, SessionQueue) else None
    messages = await queue.receive_deferred(numbers, remove=remove, session_id=session_id)
    entries = [
        {"lock-token": uuid.UUID(bytes_le=message.lock_token or bytes(16)), "message": message.encode()}
        for message in messages
    ]
    return {"messages": entries}


async def _schedule(request: Request) -> Any:
    entries = request.arguments("messages", dict)
    raws = [entry.get("message") for entry in entries]
    contents = [Content.parse(raw) for raw in raws if isinstance(raw, bytes)]
    if len(contents) != len(entries):
        raise ArgumentError("schedule-message: every entry needs the bytes of its message")
    for content in contents:
        check_size(len(content.raw), MAX_MESSAGE_BYTES)
    broker = request.connection.broker
    numbers = await broker.accept(broker.namespace.destination(request.entity), contents)
    return {"sequence-numbers": Array(int, numbers)}


async def _cancel_scheduled(request: Request) -> Any:
    holder = request.connection.broker.namespace.holder(request.entity)
    await holder.cancel_scheduled(request.arguments("sequence-numbers", int))
    return {}


async def _add_rule(request: Request) -> Any:
    rule = parse_rule(request.argument("rule-name", str), request.argument("rule-description", dict))
    await request.subscription.add(rule)
    return {}


async def _remove_rule(request: Request) -> Any:
    await request.subscription.remove(request.argument("rule-name", str))
    return {}


async def _enumerate_rules(request: Request) -> Any:
    skip, top = max(request.argument("skip", int), 0), max(request.argument("top", int), 0)
    page = request.subscription.rules[skip : skip + top]
    return {"rules": [{"rule-description": described(rule)} for rule in page]} if page else None


async def _update_disposition(request: Request) -> Any:
    status = request.argument("disposition-status", str)
    queue = request.queue
    properties = properties_to_modify(request.body.get("properties-to-modify"))
    settle: Callable[[bytes], Awaitable[None]]
    if status == "suspended":
        reason, description = request.text("deadletter-reason"), request.text("deadletter-description")
        settle = partial(queue.dead_letter, reason=reason, description=description, properties=properties)
    else:
        named: dict[str, Callable[[bytes], Awaitable[None]]] = {
            "completed": queue.complete,
            "abandoned": partial(queue.abandon, properties=properties),
            "defered": partial(queue.defer, properties=properties),
        }
        if status not in named:
            raise ArgumentError(f"update-disposition: unknown status {status!r}")
        settle = named[status]
    for token in request.arguments("lock-tokens", uuid.UUID):
        await settle(token.bytes_le)
    return {}


def _message_list(messages: Sequence[Message]) -> Any:
    """Encoded messages, as many as fit in a response, and at least one."""
    entries: list[dict[str, bytes]] = []
    size = 0
    for message in messages:
        encoded = message.encode()
        size += len(encoded)
        if entries and size > _PEEK_BYTES:
            break
        entries.append({"message": encoded})
    return {"messages": entries}


_OPERATIONS: dict[str, Callable[[Request], Awaitable[Any]]] = {
    _VENDOR + "renew-lock": _renew_lock,
    _VENDOR + "renew-session-lock": _renew_session_lock,
    _VENDOR + "get-session-state": _get_session_state,
    _VENDOR + "set-session-state": _set_session_state,
    _VENDOR + "get-message-sessions": _list_sessions,
    _VENDOR + "peek-message": _peek,
    _VENDOR + "receive-by-sequence-number": _receive_deferred,
    _VENDOR + "schedule-message": _schedule,
    _VENDOR + "cancel-scheduled-message": _cancel_scheduled,
    _VENDOR + "update-disposition": _update_disposition,
    _VENDOR + "add-rule": _add_rule,
    _VENDOR + "remove-rule": _remove_rule,
    _VENDOR + "enumerate-rules": _enumerate_rules,
}
