"""Links that receive from one message session of a queue, named or the next that is available."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aos.local.servicebus.amqp_types import Described, Symbol
from aos.local.servicebus.errors import BrokerError, InvalidFieldError, SessionLockLostError
from aos.local.servicebus.links import ReceivingLink
from aos.local.servicebus.message_sessions import SessionQueue
from aos.local.servicebus.performatives import Attach

if TYPE_CHECKING:
    from aos.local.servicebus.amqp_session import Session
    from aos.local.servicebus.connection import Connection

SESSION_FILTER = "com.microsoft:session-filter"
_LOCKED_UNTIL = "com.microsoft:locked-until-utc"
_TIMEOUT = "com.microsoft:timeout"
_DEFAULT_TIMEOUT_MS = 60_000
_EPOCH_TICKS = 621_355_968_000_000_000  # .NET counts 100 ns from year 1
_TICKS_A_MS = 10_000


class SessionReceivingLink(ReceivingLink):
    """Attached once it holds a session; detached when the session's lock is lost."""

    def __init__(
        self, session: "Session", attach: Attach, path: str, queue: SessionQueue, wanted: Any
    ) -> None:
        named = wanted.value if isinstance(wanted, Described) else wanted
        if named is not None and not isinstance(named, str):
            raise InvalidFieldError("a session filter must be a session's id, or null for the next one")
        self._sessions = queue
        self._named: str | None = named
        self._held: str | None = None
        super().__init__(session, attach, path, queue)

    def join(self) -> None:
        """Compete for messages only when it holds a session. Raises EntityDisabledError."""
        self.queue.check_receivable()

    def acquire(self, outcome: Callable[[BrokerError | None], None]) -> None:
        """Get hold of the session, then call back with None, or with why it cannot be had."""

        def acquired(done: "asyncio.Future[str]") -> None:
            if done.cancelled() or self.closed:
                return
            error = done.exception()
            if error is None:
                self._held = done.result()
            outcome(error if isinstance(error, BrokerError) else None)

        properties = self.attach.properties if isinstance(self.attach.properties, dict) else {}
        timeout_ms = properties.get(_TIMEOUT, _DEFAULT_TIMEOUT_MS)
        timeout_s = timeout_ms / 1000 if isinstance(timeout_ms, int) else _DEFAULT_TIMEOUT_MS / 1000
        self._sessions.acquire(self, self._named, timeout_s).add_done_callback(acquired)

    def filters(self) -> dict[Any, Any]:
        """The filter that tells the client which session it has."""
        return {Symbol(SESSION_FILTER): self._held}

    def properties(self) -> dict[Any, Any]:
        """Until when the session is locked, in .NET's ticks."""
        until_ms = self._sessions.locked_until_ms(self._held or "")
        return {Symbol(_LOCKED_UNTIL): until_ms * _TICKS_A_MS + _EPOCH_TICKS}

    def belongs_to(self, connection: "Connection", link_name: object) -> bool:
        """Whether it is of that connection, and has that name if one is given."""
        return self.session.connection is connection and link_name in (None, self.attach.name)

    def lock_lost(self) -> None:
        """The session's lock has expired."""
        self.refuse(SessionLockLostError(f"{self.path}: the lock on session {self._held!r} has expired"))
