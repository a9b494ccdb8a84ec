"""The three stores that belong together, opened and closed as one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from aos.services.storage.ports import Blobs, Logs, Rows


class Storage:
    """Rows, blobs and logs of one backend; an async context manager that closes it."""

    def __init__(self, rows: Rows, blobs: Blobs, logs: Logs, close: Callable[[], Awaitable[None]]) -> None:
        self.rows = rows
        self.blobs = blobs
        self.logs = logs
        self._close = close

    async def close(self) -> None:
        """Finish what was begun and give back files and connections; closing twice is fine."""
        await self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
