"""HTTP v2: routes, streaming both ways, and a whole FastAPI app behind one catch-all route."""

import asyncio
import hashlib
import logging
import os
import threading
import time

import azure.functions as func
from azurefunctions.extensions.http.fastapi import (
    JSONResponse,
    PlainTextResponse,
    Request,
    Response,
    StreamingResponse,
)
from fastapi import FastAPI

app = func.FunctionApp()
released = asyncio.Event()
gone: list[str] = []
barrier = threading.Barrier(8)


@app.route(route="items/{id:int}/{part?}", methods=["GET", "DELETE"])
async def item(req: Request) -> JSONResponse:
    return JSONResponse({"params": req.path_params, "query": dict(req.query_params), "method": req.method})


@app.route(route="items/{name}", methods=["GET"])
async def named(req: Request) -> str:
    return f"named {req.path_params['name']}"


@app.route(route="items/special", methods=["GET"])
def special(req: Request) -> str:
    return "special"


@app.route(route="digest", methods=["POST"])
async def digest(req: Request) -> dict:
    seen, size = hashlib.sha256(), 0
    async for piece in req.stream():
        seen.update(piece)
        size += len(piece)
    return {"sha256": seen.hexdigest(), "size": size}


@app.route(route="large", methods=["GET"])
async def large(req: Request) -> StreamingResponse:
    async def pieces():
        for index in range(200):
            yield bytes([index]) * 100_000

    return StreamingResponse(pieces(), media_type="application/octet-stream")


@app.route(route="events", methods=["GET"])
async def events(req: Request) -> StreamingResponse:
    async def stream():
        try:
            yield "data: first\n\n"
            await released.wait()
            yield "data: second\n\n"
            await asyncio.Event().wait()
        finally:
            gone.append("events")

    return StreamingResponse(stream(), media_type="text/event-stream")


@app.route(route="release", methods=["POST"])
async def release(req: Request) -> str:
    released.set()
    return "released"


@app.route(route="gone", methods=["GET"])
async def who_is_gone(req: Request) -> list:
    return gone


@app.route(route="raise", methods=["GET"])
async def raising(req: Request) -> str:
    logging.warning("about to fail")
    raise LookupError("nothing here")


class UnprintableError(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise TypeError("no words")


@app.route(route="unprintable", methods=["GET"])
def unprintable(req: Request) -> str:
    raise UnprintableError


@app.route(route="surrogate", methods=["GET"])
def surrogate(req: Request) -> str:
    raise ValueError("half a character: \ud800")


@app.route(route="broken", methods=["GET"])
async def broken(req: Request) -> StreamingResponse:
    async def pieces():
        yield "begun"
        raise OSError("the source dried up")

    return StreamingResponse(pieces())


@app.route(route="together", methods=["GET"])
def together(req: Request) -> str:
    barrier.wait(timeout=10)
    return "all here"


@app.route(route="endless", methods=["GET"])
async def endless(req: Request) -> str:
    try:
        await asyncio.Event().wait()
    finally:
        gone.append("endless")


@app.route(route="exit", methods=["GET"])
def leave(req: Request) -> str:
    raise SystemExit(3)


@app.route(route="stuck", methods=["GET"])
def stuck(req: Request) -> str:
    time.sleep(600)


@app.route(route="emit", methods=["POST"])
@app.service_bus_queue_output(arg_name="out", queue_name="emitted", connection="Bus")
async def emit(req: Request, out: func.Out[str]) -> StreamingResponse:
    """The message is sent before the response begins."""
    out.set((await req.body()).decode())

    async def pieces():
        yield "emitted"

    return StreamingResponse(pieces(), status_code=202)


@app.route(route="connection", methods=["GET"])
def connection(req: Request) -> PlainTextResponse:
    return PlainTextResponse(os.environ["Bus"])  # noqa: SIM112


inner = FastAPI()


@inner.get("/inner/hello")
async def hello() -> dict:
    return {"hello": "from inside"}


@inner.get("/inner/stream")
async def inner_stream() -> StreamingResponse:
    async def stream():
        yield "one\n"
        await released.wait()
        yield "two\n"

    return StreamingResponse(stream(), media_type="text/plain")


class Forward(Response):
    """Hands the request over to another ASGI app."""

    async def __call__(self, scope, receive, send) -> None:
        await inner(scope, receive, send)


@app.route(route="{*path}", methods=["GET", "POST"])
async def everything_else(req: Request) -> Response:
    return Forward()
