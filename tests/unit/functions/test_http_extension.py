"""What stands in front of the API in Azure: the extension's own web app."""

import httpx
import pytest
from azurefunctions.extensions.http.fastapi import web
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.responses import PlainTextResponse

from aos.functions import http


async def answered(path: str) -> str:
    """What the extension's app answers that has one function behind it."""
    assert http.blueprint is not None
    app = web.WebApp()

    @app.route
    async def catch_all() -> PlainTextResponse:
        return PlainTextResponse("the function")

    transport = httpx.ASGITransport(app.get_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://aos") as client:
        return (await client.get(path)).text


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect", "/api/runs"])
async def test_every_path_reaches_the_function_and_none_the_extensions_own_pages(path: str):
    assert await answered(path) == "the function"


async def test_it_tells_of_no_request_a_second_time(monkeypatch: pytest.MonkeyPatch):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    assert await answered("/health/live") == "the function"
    assert exporter.get_finished_spans() == ()
