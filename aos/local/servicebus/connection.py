"""A client's connection: protocol headers, SASL, frames in and out, tokens, keep-alive."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, cast

from aos.local.servicebus import management
from aos.local.servicebus.amqp_session import Session
from aos.local.servicebus.amqp_types import Symbol, UByte
from aos.local.servicebus.clock import Alarm
from aos.local.servicebus.content import Content
from aos.local.servicebus.errors import (
    BrokerError,
    FramingError,
    InvalidFieldError,
    NotAllowedError,
    UnauthorizedError,
)
from aos.local.servicebus.performatives import (
    AMQP_HEADER,
    EMPTY_FRAME,
    SASL_HEADER,
    Begin,
    Close,
    End,
    Open,
    Performative,
    SaslInit,
    decode_performative,
    encode_frame,
    encode_sasl,
    error_value,
    symbols,
)
from aos.local.servicebus.security import Grant

if TYPE_CHECKING:
    from aos.local.servicebus.broker import Broker

_LOGGER = logging.getLogger(__name__)

MAX_FRAME_BYTES = 256 * 1024
_LARGEST_WRITE = 256 * 1024
_MOST_UNREAD = 16 * 1024 * 1024
_IDLE_MS = 240_000
_OPENING_S = 30.0  # from the first byte to the open frame
_HTTP = (b"GET ", b"PUT ", b"POST", b"DELE", b"HEAD", b"OPTI", b"PATC")  # what its requests start with
_MECHANISMS = ("MSSBCBS", "PLAIN", "ANONYMOUS")
_SASL_FRAME = 1
_SASL_OK, _SASL_AUTH = UByte(0), UByte(1)


class Connection(asyncio.Protocol):
    """One TCP connection. A protocol fault closes it, and it alone."""

    def __init__(self, broker: "Broker") -> None:
        self.broker = broker
        self.writable = True
        self.max_frame_size = 512
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._fresh = True  # nothing has come yet
        self._header_expected = True
        self._trusted = False  # SASL PLAIN with the right key needs no token
        self._opened = False
        self._sessions: dict[int, Session] = {}
        self._ended: set[int] = set()
        self._grants: dict[str, Grant] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._heard_s = 0.0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._grants_end = Alarm(broker.clock, self._check_grants)
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast("asyncio.Transport", transport)
        self.broker.connections.add(self)
        self._later("opening", _OPENING_S, self._check_opened)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone; what it has locked stays locked."""
        self._transport = None
        self.broker.connections.discard(self)
        for timer in self._timers.values():
            timer.cancel()
        self._grants_end.cancel()
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
        for task in self._tasks:
            task.cancel()

    def pause_writing(self) -> None:
        """The client does not read: nothing more is locked for it."""
        self.writable = False

    def resume_writing(self) -> None:
        """The client reads again."""
        self.writable = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        for session in list(self._sessions.values()):
            session.resume()

    def data_received(self, data: bytes) -> None:
        """Take in whole frames; what the client sends wrong closes the connection with an error."""
        if self._fresh:
            self._fresh = False
            if data.startswith(_HTTP):
                self._hand_over(data)
                return
        self._heard_s = self._loop.time()
        self._buffer += data
        try:
            self._consume()
        except BrokerError as error:
            self.close(error)
        self._hold_back()

    def write(self, data: bytes) -> None:
        """Send with everything else that this turn of the loop produces, unless that is much."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)
        self._out_bytes += len(data)
        if self._out_bytes > _LARGEST_WRITE:
            self._flush()

    def close(self, error: BrokerError | None = None) -> None:
        """Say goodbye, with an error if there is one, and hang up."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._opened:
            self.write(encode_frame(0, Close(None if error is None else error_value(error))))
        elif error is not None:
            _LOGGER.debug("connection refused: %s", error)
        self._flush()
        self._transport.close()

    def authorize(self, path: str) -> None:
        """Check that a token covers the entity now. Raises UnauthorizedError."""
        now_ms = self.broker.clock.now_ms()
        if self._trusted or any(grant.covers(path, now_ms) for grant in self._grants.values()):
            return
        raise UnauthorizedError(f"no valid token was put to $cbs for {path!r}")

    def authenticate(self, token: str) -> None:
        """Take a token. Raises UnauthorizedError."""
        grant = self.broker.authority.grant(token)
        self._grants[grant.path] = grant
        self._grants_end.at(grant.expires_ms)

    def answer(self, session: Session, node: str, request: Content) -> None:
        """Answer a request to $cbs or a $management node, in its own task."""
        self._spawn(management.answer(self, session, node, request))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _check_grants(self) -> None:
        now_ms = self.broker.clock.now_ms()
        good = {path: grant for path, grant in self._grants.items() if grant.expires_ms > now_ms}
        expired = len(good) < len(self._grants)
        self._grants = good
        self._grants_end.at(min((grant.expires_ms for grant in good.values()), default=None))
        if expired:
            for session in list(self._sessions.values()):
                session.check_grants()

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()
        self._out_bytes = 0

    def _hand_over(self, data: bytes) -> None:
        """What the client speaks is HTTP."""
        transport = self._transport
        assert transport is not None
        self.connection_lost(None)
        self.broker.door.let_in(transport, data)

    def _hold_back(self) -> None:
        """Read no more from a client that does not read what it has coming, until it does."""
        transport = self._transport
        if transport is None or transport.is_closing() or self.writable:
            return
        if transport.get_write_buffer_size() > _MOST_UNREAD:
            transport.pause_reading()

    def _consume(self) -> None:
        position = 0
        buffer = self._buffer
        try:
            while self._transport is not None and not self._transport.is_closing():
                if self._header_expected:
                    if len(buffer) - position < 8:
                        return
                    position += 8
                    self._header(bytes(buffer[position - 8 : position]))
                    continue
                if len(buffer) - position < 8:
                    return
                size = int.from_bytes(buffer[position : position + 4])
                offset = buffer[position + 4] * 4
                if not 8 <= offset <= size <= MAX_FRAME_BYTES:
                    raise FramingError(f"a frame of {size} bytes with its body at {offset}")
                if len(buffer) - position < size:
                    return
                kind = buffer[position + 5]
                channel = int.from_bytes(buffer[position + 6 : position + 8])
                body = bytes(buffer[position + offset : position + size])
                position += size
                self._frame(kind, channel, body)
        finally:
            del buffer[:position]

    def _header(self, header: bytes) -> None:
        if header == SASL_HEADER:
            self.write(SASL_HEADER + encode_sasl(0x40, symbols(*_MECHANISMS)))
        elif header == AMQP_HEADER:
            self.write(AMQP_HEADER)
        else:
            if self._transport is not None:
                self._transport.write(AMQP_HEADER)  # what is spoken here, as the specification asks
            raise FramingError("not an AMQP 1.0 protocol header")
        self._header_expected = False

    def _frame(self, kind: int, channel: int, body: bytes) -> None:
        if kind == _SASL_FRAME:
            self._sasl(body)
            return
        if not body:
            return
        performative, payload = decode_performative(body)
        if isinstance(performative, Open):
            self._open(performative)
        elif not self._opened:
            raise NotAllowedError("the first frame must be open")
        elif isinstance(performative, Close):
            self.close()
        else:
            self._session_frame(channel, performative, payload)

    def _sasl(self, body: bytes) -> None:
        performative, _ = decode_performative(body)
        if self._opened or not isinstance(performative, SaslInit):
            raise NotAllowedError("expected a SASL init frame")
        accepted = performative.mechanism in _MECHANISMS
        if performative.mechanism == "PLAIN":
            accepted = self._trusted = self.broker.authority.plain(performative.initial_response or b"")
        self.write(encode_sasl(0x44, _SASL_OK if accepted else _SASL_AUTH))
        self._header_expected = True
        if not accepted:
            self.close()

    def _open(self, performative: Open) -> None:
        if self._opened:
            raise NotAllowedError("the connection is open already")
        remote = performative.max_frame_size or MAX_FRAME_BYTES
        if remote < 512:
            raise InvalidFieldError("max-frame-size must be at least 512")
        self._opened = True
        self.max_frame_size = min(remote, MAX_FRAME_BYTES)
        properties = {Symbol("product"): "aos", Symbol("platform"): "python"}
        answer = Open(self.broker.name, None, MAX_FRAME_BYTES, 255, _IDLE_MS, properties=properties)
        self.write(encode_frame(0, answer))
        self._later("idle", _IDLE_MS / 1000, self._check_idle)
        if performative.idle_time_out:
            self._keep_alive(max(performative.idle_time_out / 2000, 0.05))

    def _session_frame(self, channel: int, performative: Performative, payload: bytes) -> None:
        session = self._sessions.get(channel)
        if isinstance(performative, Begin):
            if session is not None or channel > 255:
                raise NotAllowedError(f"channel {channel} cannot be begun")
            self._ended.discard(channel)
            self._sessions[channel] = Session(self, channel, performative)
        elif session is None:
            # Clients detach links after ending their session.
            if channel not in self._ended:
                raise NotAllowedError(f"channel {channel} has no session")
        elif isinstance(performative, End):
            self._end(channel, session, None)
        else:
            try:
                session.handle(performative, payload)
            except BrokerError as error:
                self._end(channel, session, error)

    def _end(self, channel: int, session: Session, error: BrokerError | None) -> None:
        del self._sessions[channel]
        self._ended.add(channel)
        session.close()
        self.write(encode_frame(channel, End(None if error is None else error_value(error))))

    def _later(self, name: str, delay_s: float, callback: Callable[[], None]) -> None:
        if self._transport is not None:
            self._timers[name] = self._loop.call_later(delay_s, callback)

    def _keep_alive(self, period_s: float) -> None:
        self.write(EMPTY_FRAME)
        self._later("alive", period_s, lambda: self._keep_alive(period_s))

    def _check_opened(self) -> None:
        if not self._opened and self._transport is not None:
            self._transport.abort()

    def _check_idle(self) -> None:
        silent_s = self._loop.time() - self._heard_s
        if silent_s >= 2 * _IDLE_MS / 1000 and self._transport is not None:
            self._transport.abort()
        else:
            self._later("idle", _IDLE_MS / 1000, self._check_idle)
