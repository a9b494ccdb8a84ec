"""The API as the Functions worker serves it: as the response of another app's catch-all route."""

import httpx
from api_server import INPUT, WORKFLOW, Api, problem_of, serving
from fastapi import FastAPI, Request, Response
from starlette.types import Receive, Scope, Send


async def test_the_api_answers_and_streams_from_inside_another_app(api: Api):
    class Forward(Response):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await api.app(scope, receive, send)

    outer = FastAPI(openapi_url=None)

    async def catch_all(_: Request) -> Response:
        return Forward()

    outer.add_api_route("/{path:path}", catch_all, methods=["GET", "POST", "DELETE"], response_model=None)
    headers = {"Authorization": f"Bearer {api.keys['operator']}"}
    async with serving(outer) as url, httpx.AsyncClient(base_url=url, headers=headers) as client:
        assert (await client.get("/")).headers["location"] == "/docs"
        started = await client.post(f"/api/workflows/{WORKFLOW}/runs", json={"input": INPUT})
        assert started.status_code == 202
        run = started.json()["id"]
        assert (await client.get(started.headers["location"])).json()["input"] == INPUT
        await api.begin(run)
        async with client.stream("GET", f"/api/runs/{run}/events") as response:
            chunks = response.aiter_bytes()
            assert (await anext(chunks)).startswith(b"id: 0\nevent: run.started\n")
            await api.end(run)
            assert (await anext(chunks)).startswith(b"id: 1\nevent: run.ended\n")
        api.directory.failure = RuntimeError("nobody expected this")
        for method, path, status in (
            ("GET", "/api/agents", 500),
            ("GET", "/nothing", 404),
            ("DELETE", "/api/runs", 405),
            ("GET", "/api/runs?limit=0", 422),
        ):
            response = await client.request(method, path)
            assert response.status_code == status
            problem_of(response)
        large = await client.post(f"/api/runs/{run}/cancel", content=b" " * 10_000_000)
        assert large.status_code == 415
        large = await client.post(
            f"/api/runs/{run}/cancel",
            content=b" " * 10_000_000,
            headers={"Content-Type": "application/json"},
        )
        assert large.status_code == 413
