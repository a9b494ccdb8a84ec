import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from aos.kernel import errors
from aos.kernel.errors import AosError
from aos.sdk import AosClient, RunEvent

KEY = "aos_test"


class Server:
    """A loopback server: records what it is asked, and answers what the test says."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] = self._empty
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def replies(self, status: int, body: Any, content_type: str = "application/json") -> None:
        async def answer(_: web.Request) -> web.StreamResponse:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            return web.Response(status=status, body=data, content_type=content_type)

        self.answer = answer

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append((request.method, request.raw_path, json.loads(body) if body else None))
        self.headers.append(dict(request.headers))
        return await self.answer(request)

    async def _empty(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AosClient]:
    async with AosClient(server.url, KEY, patience_s=0.2) as client:
        yield client


async def test_a_run_is_started_with_key_budget_and_idempotency_key(
    server: Server, client: AosClient
) -> None:
    server.replies(202, {"id": "r1", "workflow": "w", "status": "accepted"})
    run = await client.start_run("w", {"n": 1}, idempotency_key="k1", budget_usd=1.5)
    assert run["id"] == "r1"
    assert server.requests == [("POST", "/api/workflows/w/runs", {"input": {"n": 1}, "budget_usd": 1.5})]
    assert server.headers[0]["Idempotency-Key"] == "k1"
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


async def test_what_is_not_given_is_not_sent(server: Server, client: AosClient) -> None:
    await client.start_run("w", {})
    await client.list_runs()
    assert server.requests == [("POST", "/api/workflows/w/runs", {"input": {}}), ("GET", "/api/runs", None)]
    assert "Idempotency-Key" not in server.headers[0]


CALLS: list[tuple[Callable[[AosClient], Awaitable[Any]], tuple[str, str, Any]]] = [
    (lambda c: c.get_run("r1"), ("GET", "/api/runs/r1", None)),
    (lambda c: c.get_run("a/../b"), ("GET", "/api/runs/a%2F..%2Fb", None)),
    (
        lambda c: c.list_runs(status="running", limit=5, after="r0"),
        ("GET", "/api/runs?status=running&limit=5&after=r0", None),
    ),
    (lambda c: c.cancel_run("r1", "late"), ("POST", "/api/runs/r1/cancel", {"reason": "late"})),
    (
        lambda c: c.approve("r1", "board", reason="ok", action_hash="h"),
        ("POST", "/api/runs/r1/approvals/board", {"approve": True, "reason": "ok", "action_hash": "h"}),
    ),
    (
        lambda c: c.reject("r1", "board", reason="no", action_hash="h"),
        ("POST", "/api/runs/r1/approvals/board", {"approve": False, "reason": "no", "action_hash": "h"}),
    ),
    (
        lambda c: c.resolve_effect("r1", "e1", happened=False, reason="asked"),
        ("POST", "/api/runs/r1/effects/e1/resolution", {"happened": False, "reason": "asked"}),
    ),
    (lambda c: c.agents(), ("GET", "/api/agents", None)),
    (lambda c: c.workflows(), ("GET", "/api/workflows", None)),
    (lambda c: c.health(), ("GET", "/health/ready", None)),
]


@pytest.mark.parametrize(("call", "request_"), CALLS)
async def test_each_call_asks_its_route(
    server: Server, client: AosClient, call: Callable[[AosClient], Awaitable[Any]], request_: Any
) -> None:
    server.replies(200, {"ok": True})
    assert await call(client) == {"ok": True}
    assert server.requests == [request_]


async def test_a_dossier_and_the_audit_key_come_as_they_are(server: Server, client: AosClient) -> None:
    server.replies(200, b"\x00\xffPK", "application/octet-stream")
    assert await client.dossier("r1") == b"\x00\xffPK"
    server.replies(200, b"-----BEGIN PUBLIC KEY-----\n", "application/x-pem-file")
    assert await client.audit_key() == "-----BEGIN PUBLIC KEY-----\n"
    assert [path for _, path, _ in server.requests] == ["/api/runs/r1/dossier", "/api/audit/key"]


@pytest.mark.parametrize(
    "kind", [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AosError)]
)
async def test_a_problem_becomes_the_error_of_its_code(
    server: Server, client: AosClient, kind: type[AosError]
) -> None:
    problem = {
        "type": "about:blank",
        "title": "T",
        "status": 418,
        "detail": "why",
        "code": kind.code,
        "run": "r1",
    }
    server.replies(418, problem, "application/problem+json")
    with pytest.raises(AosError) as caught:
        await client.get_run("r1")
    assert type(caught.value) is kind
    assert caught.value.message == "why"
    assert caught.value.details == {"status": 418, "run": "r1"}


async def test_a_code_of_a_newer_server_is_kept(server: Server, client: AosClient) -> None:
    server.replies(409, {"detail": "why", "code": "not_yet_known"}, "application/problem+json")
    with pytest.raises(errors.Conflict) as caught:
        await client.get_run("r1")
    assert caught.value.code == "not_yet_known"
    assert errors.Conflict.code == "conflict"


@pytest.mark.parametrize(
    ("status", "kind"), [(401, errors.Unauthenticated), (404, errors.NotFound), (503, errors.Unavailable)]
)
async def test_an_answer_that_is_no_problem_goes_by_its_status(
    server: Server, client: AosClient, status: int, kind: type[AosError]
) -> None:
    server.replies(status, b"<html>proxy</html>", "text/html")
    with pytest.raises(kind, match=f"the server answered {status}"):
        await client.get_run("r1")


async def test_a_server_that_is_not_there_is_unavailable(server: Server, client: AosClient) -> None:
    await server.stop()
    with pytest.raises(errors.Unavailable, match=f"AOS at {server.url} does not answer"):
        await client.get_run("r1")


async def test_an_input_that_is_no_json_is_refused_before_it_is_sent(
    server: Server, client: AosClient
) -> None:
    with pytest.raises(errors.InvalidInput, match="the run's input is not JSON"):
        await client.start_run("w", {"n": float("nan")})
    assert server.requests == []


@pytest.mark.parametrize("body", [b"<html>a router's login page</html>", b"[]"])
async def test_an_answer_of_something_else_is_an_error(
    server: Server, client: AosClient, body: bytes
) -> None:
    server.replies(200, body)
    with pytest.raises(AosError, match=server.url):
        await client.get_run("r1")


async def test_a_proxy_of_the_environment_is_not_asked_for_the_loopback(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with AosClient(server.url, KEY) as client:
        assert await client.health() == {}


async def test_without_a_key_none_is_sent(server: Server) -> None:
    async with AosClient(server.url) as client:
        await client.health()
    assert "Authorization" not in server.headers[0]


def record(sequence: int, event: str = "step.completed") -> bytes:
    return f'id: {sequence}\nevent: {event}\ndata: {{"n": {sequence}}}\n\n'.encode()


def streaming(*connections: bytes | int) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Answer each connection with its bytes, then cut it; with a number: answer that status."""
    left = list(connections)

    async def answer(request: web.Request) -> web.StreamResponse:
        reply = left.pop(0)
        if isinstance(reply, int):
            return web.Response(status=reply)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b"retry: 1\n\n" + reply)
        assert request.transport is not None
        request.transport.close()
        return response

    return answer


async def sequences(client: AosClient, after: int | None = None) -> list[int]:
    return [event.sequence async for event in client.events("r1", after=after)]


async def test_events_end_with_the_run(server: Server, client: AosClient) -> None:
    server.answer = streaming(record(0) + b": beat\n\n" + record(1, "run.ended") + record(2))
    events = [event async for event in client.events("r1")]
    assert events == [RunEvent(0, "step.completed", {"n": 0}), RunEvent(1, "run.ended", {"n": 1})]
    assert "Last-Event-ID" not in server.headers[0]


async def test_a_cut_stream_goes_on_where_it_broke_off(server: Server, client: AosClient) -> None:
    torn = record(2)[:-7]
    server.answer = streaming(
        record(0) + record(1) + torn, 503, record(1) + record(2) + record(3, "run.ended")
    )
    assert await sequences(client) == [0, 1, 2, 3]
    assert [headers.get("Last-Event-ID") for headers in server.headers] == [None, "1", "1"]


async def test_events_begin_after_the_record_that_is_named(server: Server, client: AosClient) -> None:
    server.answer = streaming(record(4, "run.ended"))
    assert await sequences(client, after=3) == [4]
    assert server.headers[0]["Last-Event-ID"] == "3"


async def test_nothing_more_ends_the_events(server: Server, client: AosClient) -> None:
    server.answer = streaming(204)
    assert await sequences(client, after=9) == []


async def test_a_refusal_is_not_asked_again(server: Server, client: AosClient) -> None:
    server.answer = streaming(404)
    with pytest.raises(errors.NotFound):
        await sequences(client)
    assert len(server.requests) == 1


async def test_events_give_up_when_nothing_arrives(server: Server, client: AosClient) -> None:
    await server.stop()
    with pytest.raises(errors.Unavailable, match="does not answer"):
        await sequences(client)


async def test_a_server_that_only_hangs_up_is_given_up_too(server: Server) -> None:
    async def hang_up(_: web.Request) -> web.StreamResponse:
        return web.Response(content_type="text/event-stream")

    server.answer = hang_up
    async with AosClient(server.url, KEY, patience_s=0.1) as client:
        with pytest.raises(errors.Unavailable, match="sends nothing of run r1"):
            await sequences(client)


async def test_a_slow_reader_still_gets_its_reconnection(server: Server) -> None:
    server.answer = streaming(record(0), record(1, "run.ended"))
    async with AosClient(server.url, KEY, patience_s=0.05) as client:
        events = client.events("r1")
        assert (await anext(events)).sequence == 0
        await asyncio.sleep(0.1)  # longer than the patience
        assert (await anext(events)).sequence == 1


async def test_leaving_the_events_early_closes_the_connection(server: Server, client: AosClient) -> None:
    closed = asyncio.Event()

    async def forever(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(record(0))
        try:
            while True:
                await response.write(b": beat\n\n")
                await asyncio.sleep(0.01)
        finally:
            closed.set()

    server.answer = forever
    events = client.events("r1")
    assert (await anext(events)).sequence == 0
    await events.aclose()
    await asyncio.wait_for(closed.wait(), 10)
