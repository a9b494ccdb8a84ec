"""What stands in front of the API in Azure: the extension's own web app."""

import httpx
import pytest
from azurefunctions.extensions.http.fastapi import web
from starlette.responses import PlainTextResponse

from aos.functions import http


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect", "/api/runs"])
async def test_every_path_reaches_the_function_and_none_the_extensions_own_pages(path: str):
    assert http.blueprint is not None
    app = web.WebApp()

    @app.route
    async def catch_all() -> PlainTextResponse:
        return PlainTextResponse("the function")

    transport = httpx.ASGITransport(app.get_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://aos") as client:
        assert (await client.get(path)).text == "the function"
