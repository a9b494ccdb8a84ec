"""A loopback server that speaks OpenAI's chat completions API, as a test scripts it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Scripted:
    """One answer of the endpoint; ``body`` text is sent as it is."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    hang: bool = False
    drop: bool = False


def call(name: str, arguments: str, call_id: str = "call_1") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def completion(
    text: str | None = None,
    calls: Sequence[dict[str, Any]] = (),
    *,
    finish_reason: str | None = None,
    usage: tuple[int, int] | None = (11, 7),
    model: str = "gpt-4o-2024-08-06",
) -> Scripted:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = list(calls)
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": finish_reason or ("tool_calls" if calls else "stop"),
    }
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": model,
        "choices": [choice],
    }
    if usage is not None:
        body["usage"] = {
            "prompt_tokens": usage[0],
            "completion_tokens": usage[1],
            "total_tokens": sum(usage),
        }
    return Scripted(body)


def failure(status: int, message: str, *, code: str | None = None, **headers: str) -> Scripted:
    error = {"message": message, "type": "error", "param": None, "code": code}
    return Scripted({"error": error}, status, {name.replace("_", "-"): v for name, v in headers.items()})


@dataclass
class Seen:
    """A request as it arrived."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: dict[str, Any]


class Endpoint:
    """Serves its script in order, the last answer again and again."""

    def __init__(self) -> None:
        self.script: list[Scripted] = []
        self.seen: list[Seen] = []
        self.arrived = asyncio.Event()
        self._released = asyncio.Event()
        app = web.Application()
        app.router.add_post("/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=1)

    async def start(self) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.root = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.url = f"{self.root}/v1"

    async def stop(self) -> None:
        self._released.set()
        await self._runner.cleanup()

    async def left(self) -> None:
        """Wait until nobody is connected."""
        while self._runner.server is not None and self._runner.server.connections:
            await asyncio.sleep(0.005)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append(Seen(request.path, dict(request.query), dict(request.headers), body))
        self.arrived.set()
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if answer.hang:
            await self._released.wait()
        if answer.drop:
            assert request.transport is not None
            request.transport.abort()
        text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        return web.Response(
            text=text, status=answer.status, headers=answer.headers, content_type=answer.content_type
        )


class MovedClock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
