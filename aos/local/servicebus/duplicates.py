"""Duplicate detection: the message ids seen within the window."""

import asyncio
from collections import OrderedDict

from aos.local.servicebus import journal as sql
from aos.local.servicebus.errors import ServerBusyError
from aos.local.servicebus.intake import Intake
from aos.local.servicebus.journal import Journal


class DuplicateHistory:
    """What an entity has seen; a window of None keeps no history."""

    def __init__(self, entity: str, window_ms: int | None, journal: Journal) -> None:
        self._entity = entity
        self._window_ms = window_ms
        self._journal = journal
        self._seen: OrderedDict[str, tuple[int, asyncio.Future[None]]] = OrderedDict()

    def admit(self, message_id: str, now_ms: int, intake: Intake) -> bool:
        """Whether the id is new; then it is part of the intake, and forgotten if that is refused.

        A duplicate of a message that is still being written is acknowledged only if that one is.
        """
        if self._window_ms is None:
            return True
        self.forget(now_ms)
        known = self._seen.get(message_id)
        if known is not None:
            intake.earlier.append(known[1])
            return False
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._seen[message_id] = (now_ms, written)
        intake.statements.append((sql.PUT_DUPLICATE, (self._entity, message_id, now_ms)))
        intake.accepted.append(lambda: written.set_result(None))
        intake.refused.append(lambda: self._refuse(message_id, written))
        return True

    def restore(self, now_ms: int) -> None:
        """Take up the history of an earlier run."""
        if self._window_ms is None:
            return
        rows = self._journal.rows(
            "SELECT message_id, seen_ms FROM duplicates WHERE entity=? ORDER BY seen_ms", self._entity
        )
        for message_id, seen_ms in rows:
            written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            written.set_result(None)
            self._seen[message_id] = (seen_ms, written)
        self.forget(now_ms)

    def forget(self, now_ms: int) -> None:
        """Drop what is older than the window."""
        if self._window_ms is None:
            return
        oldest_ms = now_ms - self._window_ms
        dropped = []
        while self._seen and next(iter(self._seen.values()))[0] <= oldest_ms:
            dropped.append(self._seen.popitem(last=False)[0])
        if dropped:
            self._journal.record([(sql.FORGET_DUPLICATE, (self._entity, each)) for each in dropped])

    def _refuse(self, message_id: str, written: "asyncio.Future[None]") -> None:
        self._seen.pop(message_id, None)
        written.set_exception(ServerBusyError("the message that this one repeats could not be written"))
        written.exception()  # nobody may be waiting for it
