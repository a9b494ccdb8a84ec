"""The async client of the AOS HTTP API."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from aos.kernel.errors import AosError, InvalidInput, Unavailable
from aos.sdk.problems import error_of
from aos.sdk.sse import EventStream

RUN_ENDED = "run.ended"
"""The type of the fact that a run's log ends with."""

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_QUIET_S = 45.0  # the server sends a heartbeat every 15 s: three missing ones mean a dead connection
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 5.0


class _NothingMore(Exception):
    """The server answered 204, by which an event stream says: do not connect again."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One record of a run's log: its sequence number, its fact's type, and the record itself."""

    sequence: int
    type: str
    record: Mapping[str, Any]


class AosClient:
    """Speaks to one AOS with one API key. An async context manager; safe to share between tasks.

    Every method raises the `AosError` that the server answered with, and `Unavailable` when the
    server does not answer.

    Args:
        url: where AOS is, such as ``http://127.0.0.1:7071``.
        key: an API key, ``aos_...``; None: only the health and the description can be asked for.
        timeout_s: for one request, events aside.
        patience_s: how long `events` goes on reconnecting while nothing at all arrives.
    """

    def __init__(
        self, url: str, key: str | None = None, *, timeout_s: float = 30.0, patience_s: float = 60.0
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        self._url = url
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        # A proxy named in the environment cannot reach this machine's own loopback.
        distant = httpx.URL(url).host not in _LOOPBACK
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout_s, trust_env=distant)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def start_run(
        self,
        workflow: str,
        input: Mapping[str, Any],  # noqa: A002 - the API's own name
        *,
        idempotency_key: str | None = None,
        budget_usd: float | None = None,
    ) -> dict[str, Any]:
        """Start a run: ``{"id", "workflow", "status", ...}``.

        With an idempotency key the call may be repeated: the same key and request is the same run,
        the same key with another request is a `Conflict`. An input that JSON cannot hold is
        `InvalidInput`, and nothing is sent.
        """
        body = {"input": dict(input)} | ({} if budget_usd is None else {"budget_usd": budget_usd})
        try:
            content = json.dumps(body, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"the run's input is not JSON: {error}", workflow=workflow) from error
        headers = {"Content-Type": "application/json"}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        path = f"/api/workflows/{_part(workflow)}/runs"
        return await self._object("POST", path, content=content, headers=headers)

    async def get_run(self, run: str) -> dict[str, Any]:
        """Return a run with its steps, outcome and cost."""
        return await self._object("GET", f"/api/runs/{_part(run)}")

    async def list_runs(
        self, *, status: str | None = None, limit: int | None = None, after: str | None = None
    ) -> dict[str, Any]:
        """Return a page of runs; ``after`` is what the page before named as the next."""
        asked = {"status": status, "limit": limit, "after": after}
        params = {name: value for name, value in asked.items() if value is not None}
        return await self._object("GET", "/api/runs", params=params)

    async def cancel_run(self, run: str, reason: str) -> dict[str, Any]:
        """Ask a run to cancel: what it did is compensated, then it ends."""
        return await self._object("POST", f"/api/runs/{_part(run)}/cancel", json={"reason": reason})

    async def approve(self, run: str, step: str, *, reason: str, action_hash: str) -> dict[str, Any]:
        """Approve the exact action with that hash, which the run shows while it waits."""
        return await self._decide(run, step, True, reason, action_hash)

    async def reject(self, run: str, step: str, *, reason: str, action_hash: str) -> dict[str, Any]:
        """Reject the exact action with that hash."""
        return await self._decide(run, step, False, reason, action_hash)

    async def _decide(
        self, run: str, step: str, approve: bool, reason: str, action_hash: str
    ) -> dict[str, Any]:
        body = {"approve": approve, "reason": reason, "action_hash": action_hash}
        return await self._object("POST", f"/api/runs/{_part(run)}/approvals/{_part(step)}", json=body)

    async def resolve_effect(self, run: str, effect: str, *, happened: bool, reason: str) -> dict[str, Any]:
        """Say what came of an effect whose outcome is unknown; the step goes on from there."""
        body = {"happened": happened, "reason": reason}
        path = f"/api/runs/{_part(run)}/effects/{_part(effect)}/resolution"
        return await self._object("POST", path, json=body)

    async def dossier(self, run: str) -> bytes:
        """Return the run's dossier, as it is to be kept and verified."""
        return (await self._request("GET", f"/api/runs/{_part(run)}/dossier")).content

    async def audit_key(self) -> str:
        """Return the public key of the audit's signatures, as PEM."""
        return (await self._request("GET", "/api/audit/key")).text

    async def agents(self) -> Any:
        """Return the agents and their states."""
        return await self._json("GET", "/api/agents")

    async def workflows(self) -> Any:
        """Return the workflows that can be started."""
        return await self._json("GET", "/api/workflows")

    async def health(self) -> dict[str, Any]:
        """Return what the server says of its readiness; `Unavailable` while it is not ready."""
        return await self._object("GET", "/health/ready")

    async def events(self, run: str, *, after: int | None = None) -> AsyncGenerator[RunEvent]:
        """Follow a run's log from the record after ``after``, each record once, until the run ends.

        A lost connection is opened again where it broke off. An answer 204 says that the run has
        ended and ``after`` was its last record.

        Raises:
            Unavailable: when nothing at all arrives for ``patience_s``.
        """
        last, pause_s = after, _FIRST_PAUSE_S
        silent_since: float | None = None
        while True:
            stream, failure = EventStream(), Unavailable(f"AOS at {self._url} sends nothing of run {run}")
            try:
                async with contextlib.aclosing(self._stream(run, last)) as chunks:
                    async for chunk in chunks:
                        silent_since = None
                        for event in _run_events(stream, chunk, last):
                            last, pause_s = event.sequence, _FIRST_PAUSE_S
                            yield event
                            if event.type == RUN_ENDED:
                                return
            except _NothingMore:
                return
            except Unavailable as error:
                failure = error
            # Counted from the first loss on: a slow consumer is no silence of the server's.
            silent_since = time.monotonic() if silent_since is None else silent_since
            if time.monotonic() - silent_since > self._patience_s:
                raise failure
            if stream.retry_ms is not None:
                pause_s = stream.retry_ms / 1000
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _stream(self, run: str, last: int | None) -> AsyncGenerator[bytes]:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if last is not None:
            headers["Last-Event-ID"] = str(last)
        timeout = httpx.Timeout(self._timeout_s, read=_QUIET_S)
        path = f"/api/runs/{_part(run)}/events"
        with self._reached():
            async with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
                if response.is_error:
                    raise error_of(response.status_code, await response.aread())
                if response.status_code == httpx.codes.NO_CONTENT:
                    raise _NothingMore
                async for chunk in response.aiter_bytes():
                    yield chunk

    async def _object(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        body = await self._json(method, path, **request)
        if not isinstance(body, dict):
            raise AosError(f"AOS at {self._url} answered {path} with what is no object", url=self._url)
        return body

    async def _json(self, method: str, path: str, **request: Any) -> Any:
        response = await self._request(method, path, **request)
        try:
            return response.json()
        except ValueError as error:
            raise AosError(f"what answers at {self._url} is not AOS: {error}", url=self._url) from error

    async def _request(self, method: str, path: str, **request: Any) -> httpx.Response:
        with self._reached():
            response = await self._http.request(method, path, **request)
        if not response.is_success:
            raise error_of(response.status_code, response.content)
        return response

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(f"AOS at {self._url} does not answer: {reason}", url=self._url) from error


def _part(name: str) -> str:
    """One segment of a path, whatever the caller passed as a name."""
    return quote(name, safe="")


def _run_events(stream: EventStream, chunk: bytes, last: int | None) -> Iterator[RunEvent]:
    for message in stream.feed(chunk):
        event = RunEvent(int(message.id), message.event, json.loads(message.data))
        if last is None or event.sequence > last:
            yield event
