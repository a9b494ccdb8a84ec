"""What both Azure clients share: how often a request was sent, and what an error means to a caller."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import aiohttp
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline.transport import AioHttpTransport

from aos.kernel.errors import Unavailable

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
TRANSIENT = frozenset({401, 403, 408, 429, 500, 502, 503, 504})  # 401, 403: a role takes minutes to arrive
BEING_DELETED = frozenset({"TableBeingDeleted", "ContainerBeingDeleted"})


class Sendings:
    """How often the requests of one call went out: the SDK repeats what got no good answer.

    So does aiohttp below it, unasked: a PUT or DELETE whose kept-alive connection broke. Therefore what
    is counted is each time that headers went over the wire.
    """

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


async def _count(_session: aiohttp.ClientSession, _context: object, _sent: object) -> None:
    sendings = _sendings.get()
    if sendings is not None:
        sendings.count += 1


class CountingTransport(AioHttpTransport):  # type: ignore[misc]  # azure.core exports it untyped
    """The SDK's transport, with a count of what it sends."""

    session: aiohttp.ClientSession | None

    def __init__(self) -> None:
        super().__init__(connection_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S)
        self._shut = False

    async def open(self) -> None:
        """Open the session when the event loop runs."""
        if self._shut:
            raise Unavailable("the storage is closed")
        if self.session is None:
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_count)
            self.session = aiohttp.ClientSession(
                trust_env=True,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trace_configs=[trace],
            )
        await super().open()

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
