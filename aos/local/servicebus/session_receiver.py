"""Receiving the messages of one session in the broker's own process."""

import asyncio
from datetime import UTC, datetime

from aos.local.servicebus.errors import OperationTimeoutError, SessionLockLostError
from aos.local.servicebus.message_sessions import SessionQueue
from aos.local.servicebus.receiver import Receiver


class SessionReceiver(Receiver):
    """Holds a session once `acquire` has given it one, until `close` or until the session's lock is lost.

    `close` gives back what is still locked under the session, as if it had not been delivered.
    """

    def __init__(self, queue: SessionQueue) -> None:
        self._sessions = queue
        self._lost = False
        self.session_id = ""
        super().__init__(queue)

    @property
    def locked_until_utc(self) -> datetime:
        """When the session's lock ends. Raises SessionLockLostError."""
        return _utc(self._sessions.locked_until_ms(self._held()))

    async def acquire(self, timeout_s: float) -> bool:
        """Lock the next session with messages; False when there was none in time, or `close` came before."""
        granted = self._sessions.acquire(self, None, timeout_s)
        await asyncio.wait([granted])
        if granted.cancelled() or isinstance(granted.exception(), OperationTimeoutError):
            return False
        self.session_id = granted.result()
        return True

    def renew_session(self) -> datetime:
        """Hold the session for another lock duration; returns its end. Raises SessionLockLostError."""
        return _utc(self._sessions.renew_session(self._held()))

    def state(self) -> bytes | None:
        """The session's state. Raises SessionLockLostError."""
        return self._sessions.state(self._held())

    async def set_state(self, state: bytes | None) -> None:
        """Keep a state for the session, or (None) forget it. Raises SessionLockLostError."""
        await self._sessions.set_state(self._held(), state)

    def lock_lost(self) -> None:
        """The session's lock has expired: it is for others now."""
        self.stop()
        self._sessions.detach(self)
        self._lost = True

    def _held(self) -> str:
        """The session, unless its lock was lost and another may hold it by now."""
        if self._lost:
            raise SessionLockLostError(f"the lock on session {self.session_id!r} has expired")
        return self.session_id

    def _join(self) -> None:
        """Not before it holds a session."""


def _utc(when_ms: int) -> datetime:
    return datetime.fromtimestamp(when_ms / 1000, UTC)
