"""Messages that functions hold, for those that settle them themselves: ServiceBusMessageActions.

The calls come over gRPC, as from any worker, and name a message by its lock token or a session by its id.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from aos.local.servicebus import BrokerError, ReceivedMessage, Receiver, SessionReceiver

_LOCK_TOKEN, _PROPERTIES, _REASON, _DESCRIPTION = 1, 2, 3, 4
_SESSION, _STATE = 1, 2
_TEXT = 1  # the field of a StringValue
_DELIMITED = 2  # the wire type of strings, bytes and messages
_EMPTY = b""

type _Fields = dict[int, bytes]


class CannotSettleError(Exception):
    """A settlement that cannot be made; the message says why."""


@dataclass(frozen=True, slots=True)
class _Held:
    receiver: Receiver
    unsettled: dict[str, ReceivedMessage]


class Settlements:
    """What functions hold at the moment, and the gRPC service by which they settle it."""

    def __init__(self) -> None:
        self._messages: dict[str, _Held] = {}
        self._sessions: dict[str, SessionReceiver] = {}
        self._server: grpc.aio.Server | None = None

    @contextlib.contextmanager
    def holding(
        self, receiver: Receiver, messages: Sequence[ReceivedMessage]
    ) -> Iterator[dict[str, ReceivedMessage]]:
        """While a function has these messages; gives those, by lock token, that it has not settled."""
        held = _Held(receiver, {message.lock_token: message for message in messages})
        tokens = list(held.unsettled)
        self._messages.update(dict.fromkeys(tokens, held))
        if isinstance(receiver, SessionReceiver):
            self._sessions[receiver.session_id] = receiver
        try:
            yield held.unsettled
        finally:
            for token in tokens:
                self._messages.pop(token, None)
            if isinstance(receiver, SessionReceiver) and not self._holds_of(receiver):
                self._sessions.pop(receiver.session_id, None)

    def unsettled(self, lock_token: str) -> bool:
        """Whether a function has the message and has not settled it."""
        held = self._messages.get(lock_token)
        return held is not None and lock_token in held.unsettled

    async def serve(self) -> int:
        """Listen on a free port of the loopback interface, and tell which."""
        server = grpc.aio.server()
        methods = {
            "Complete": self._settling(lambda receiver, token, _: receiver.complete(token)),
            "Abandon": self._settling(lambda receiver, token, _: receiver.abandon(token)),
            "Defer": self._settling(lambda receiver, token, _: receiver.defer(token)),
            "Deadletter": self._settling(_dead_letter),
            "RenewMessageLock": self._renew_message,
            "RenewSessionLock": self._renew_session,
            "GetSessionState": self._get_state,
            "SetSessionState": self._set_state,
            "ReleaseSession": self._release_session,
        }
        handlers = {name: grpc.unary_unary_rpc_method_handler(_method(run)) for name, run in methods.items()}
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("Settlement", handlers)])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        self._server = server
        return int(port)

    async def close(self) -> None:
        """Take no more calls."""
        if self._server is not None:
            await self._server.stop(None)

    def _settling(
        self, settle: Callable[[Receiver, str, _Fields], Awaitable[None]]
    ) -> Callable[[_Fields], Awaitable[bytes]]:
        async def run(fields: _Fields) -> bytes:
            token, held = self._held(fields)
            if fields.get(_PROPERTIES):
                raise CannotSettleError("properties to modify are not supported")
            await settle(held.receiver, token, fields)
            held.unsettled.pop(token, None)
            return _EMPTY

        return run

    async def _renew_message(self, fields: _Fields) -> bytes:
        token, held = self._held(fields)
        await held.receiver.renew_lock(token)
        return _EMPTY

    async def _renew_session(self, fields: _Fields) -> bytes:
        until = Timestamp()
        until.FromDatetime(self._session(fields).renew_session())
        return _field(1, until.SerializeToString())

    async def _get_state(self, fields: _Fields) -> bytes:
        return _field(1, self._session(fields).state() or b"")

    async def _set_state(self, fields: _Fields) -> bytes:
        await self._session(fields).set_state(fields.get(_STATE) or None)
        return _EMPTY

    async def _release_session(self, fields: _Fields) -> bytes:
        self._session(fields).stop()
        return _EMPTY

    def _holds_of(self, receiver: Receiver) -> bool:
        return any(held.receiver is receiver for held in self._messages.values())

    def _held(self, fields: _Fields) -> tuple[str, _Held]:
        token = fields.get(_LOCK_TOKEN, b"").decode()
        held = self._messages.get(token)
        if held is None:
            raise CannotSettleError(f"LockToken {token} not found.")
        return token, held

    def _session(self, fields: _Fields) -> SessionReceiver:
        session_id = fields.get(_SESSION, b"").decode()
        session = self._sessions.get(session_id)
        if session is None:
            raise CannotSettleError(f"SessionId {session_id} not found.")
        return session


def _dead_letter(receiver: Receiver, token: str, fields: _Fields) -> Awaitable[None]:
    return receiver.dead_letter(token, _text(fields.get(_REASON)), _text(fields.get(_DESCRIPTION)))


def _text(value: bytes | None) -> str | None:
    """The text of a StringValue."""
    return None if value is None else _fields(value).get(_TEXT, b"").decode()


def _method(
    run: Callable[[_Fields], Awaitable[bytes]],
) -> Callable[[bytes, "grpc.aio.ServicerContext[bytes, bytes]"], Awaitable[bytes]]:
    """A method of the service, on serialized messages."""

    async def called(request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        try:
            return await run(_fields(request))
        except CannotSettleError as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except BrokerError as error:
            await context.abort(grpc.StatusCode.UNKNOWN, str(error))
        raise AssertionError("the call was aborted")

    return called


def _fields(message: bytes) -> _Fields:
    """The fields of a serialized message that has none but strings, bytes and messages."""
    fields: _Fields = {}
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        size, position = _varint(message, position)
        if tag & 7 != _DELIMITED:
            raise CannotSettleError(f"field {tag >> 3} is of an unknown type")
        fields[tag >> 3] = message[position : position + size]
        position += size
    return fields


def _field(number: int, value: bytes) -> bytes:
    """A serialized message of one field."""
    size, encoded = len(value), bytearray([number << 3 | _DELIMITED])
    while size > 127:
        encoded.append(size & 127 | 128)
        size >>= 7
    return bytes([*encoded, size]) + value


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
