"""What both Azure clients share: how often a request was sent, and what an error means to a caller."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline.transport import AioHttpTransport

from aos.kernel.errors import Unavailable

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
TRANSIENT = frozenset({401, 403, 408, 429, 500, 502, 503, 504})  # 401, 403: a role takes minutes to arrive
BEING_DELETED = frozenset({"TableBeingDeleted", "ContainerBeingDeleted"})


class Sendings:
    """How often the requests of one call went out: the SDK repeats those that got no good answer."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def repeated(self) -> bool:
        """Whether a refusal may only mean that an earlier sending of the same request succeeded."""
        return self.count > 1


_sendings: ContextVar[Sendings | None] = ContextVar("sendings", default=None)


@contextlib.contextmanager
def counted() -> Iterator[Sendings]:
    """Count the requests that go out in the block."""
    sendings = Sendings()
    token = _sendings.set(sendings)
    try:
        yield sendings
    finally:
        _sendings.reset(token)


class CountingTransport(AioHttpTransport):  # type: ignore[misc]  # azure.core exports it untyped
    """The SDK's transport, below its retries; each request that it sends is counted."""

    def __init__(self) -> None:
        super().__init__(connection_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S)
        self._shut = False

    async def send(self, *args: Any, **kwargs: Any) -> Any:
        """Send one request."""
        if self._shut:
            raise Unavailable("the storage is closed")
        sendings = _sendings.get()
        if sendings is not None:
            sendings.count += 1
        return await super().send(*args, **kwargs)

    async def shut(self) -> None:
        """Close the connections for good: the SDK would open new ones for the next request."""
        self._shut = True
        await self.close()


def error_code(error: HttpResponseError) -> str:
    """Return the service's own name of an error."""
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn the service's troubles, after the SDK's own retries, into ``Unavailable``."""
    try:
        yield
    except HttpResponseError as error:
        lost = error.status_code is None  # the answer broke off
        if lost or error.status_code in TRANSIENT or error_code(error) in BEING_DELETED:
            raise _unavailable(what, error) from error
        raise
    except AzureError as error:
        raise _unavailable(what, error) from error


def _unavailable(what: str, error: AzureError) -> Unavailable:
    reason = error.message.splitlines()[0] if error.message else type(error).__name__
    return Unavailable(f"{what} cannot be used now: {reason}", what=what)


def unknown(what: str) -> Unavailable:
    """Return the error for a write that was sent twice and found changed: its first sending may have won."""
    return Unavailable(f"whether {what} was written is not known: an answer was lost", what=what)
