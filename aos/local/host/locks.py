"""Keeping a Service Bus lock while a function runs."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from aos.local.servicebus import BrokerError, LockLostError, SessionLockLostError

_SHORTEST_RENEWAL_S = 0.05


async def keep_locked(
    renew: Callable[[], Awaitable[datetime]], locked_until: datetime, longest_s: float
) -> None:
    """Renew a lock halfway to each end, for `longest_s` seconds at most.

    LockLostError or SessionLockLostError when it is lost.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + longest_s
    while True:
        left = (locked_until - datetime.now(UTC)).total_seconds()
        await asyncio.sleep(max(left / 2, _SHORTEST_RENEWAL_S))
        if loop.time() >= end:
            return
        try:
            locked_until = await renew()
        except (LockLostError, SessionLockLostError):
            raise
        except BrokerError:  # it could not be written: the next try may come in time
            await asyncio.sleep(_SHORTEST_RENEWAL_S)
