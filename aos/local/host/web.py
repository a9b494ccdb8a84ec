"""The HTTP front end: routes to functions, streams both ways, and the host's own paths."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from aos.local.host.admin import Admin
from aos.local.host.calls import HttpCall, ResponseHead, WorkerLostError
from aos.local.host.console import Console
from aos.local.host.door import Door
from aos.local.host.management import PATH as MANAGEMENT
from aos.local.host.routetable import RESERVED, Match
from aos.local.host.serving import AppUnavailableError, Serving, Site
from aos.local.host.throttle import TooBusyError

_WAIT_FOR_WORKER_S = 30.0
_EVENT_STREAM = "text/event-stream"
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "server"}
_HOMEPAGE = "This Functions app is up and running.\n"
_CORS = web.RequestKey("cors", dict[str, str])


class FrontEnd:
    """Serves the app's HTTP functions on a socket that was bound before the worker started."""

    def __init__(
        self,
        serving: Serving,
        door: Door,
        admin: Admin,
        console: Console,
    ) -> None:
        self._serving = serving
        self._door = door
        self._admin = admin
        self._console = console
        self._server: asyncio.Server | None = None
        self._stopping = False
        self._streams: set[asyncio.Task[Any]] = set()
        self._web: web.Server = web.Server(
            self._handle,
            handler_cancellation=True,  # a client that disconnects ends its handler
            auto_decompress=False,
            access_log=None,
            logger=logging.getLogger("aos.local.host.web"),
        )

    async def start(self, sock: socket.socket) -> None:
        """Begin to accept connections."""
        self._server = await asyncio.get_running_loop().create_server(self._web, sock=sock, backlog=1024)

    def stop_accepting(self) -> None:
        """Take no new connection, and end the event streams, which would never end by themselves."""
        if self._server is not None:
            self._server.close()
        self._stopping = True
        self._web.pre_shutdown()
        self.end_streams()

    def end_streams(self) -> None:
        """End the event streams."""
        for task in self._streams:
            task.cancel()

    async def close(self) -> None:
        """Close what is still connected."""
        await self._web.shutdown(timeout=0.1)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        cors = self._serving.cors
        request[_CORS] = cors.headers(request)
        try:
            response = cors.preflight(request) or await self._dispatch(request)
        except ConnectionError:  # the client went away; the function was told
            return web.Response()
        except Exception as error:  # noqa: BLE001 - a fault of the host fails one request, and is seen
            self._console.warn(f"{request.method} {request.path}: {type(error).__name__}: {error}")
            response = _answer(500, "Internal Server Error")
        if not response.prepared:
            _complete(response, request[_CORS])
        return response

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._stopping:
            return _answer(503, "the host is stopping", {"Connection": "close"})
        raw_path = request.raw_path.partition("?")[0]
        if raw_path.lstrip("/").partition("/")[0].lower() in RESERVED:
            return await self._host_route(request, raw_path)
        try:
            async with asyncio.timeout(_WAIT_FOR_WORKER_S):
                site = await self._serving.site()
        except TimeoutError:
            return _answer(503, "the worker is being restarted", {"Retry-After": "5"})
        except AppUnavailableError as error:
            return _answer(503, str(error))
        found = site.table.find(request.method, raw_path)
        if not isinstance(found, Match):  # in Azure a method that is not taken is 404 too
            if raw_path == "/":
                return _answer(200, _HOMEPAGE) if site.homepage else _answer(204)
            return _answer(404, f"only {', '.join(sorted(found))} is taken here" if found else "")
        function = found.entry.function
        if not self._door.admits(request, found.entry.level, function.name):
            return _answer(401)
        if (request.content_length or 0) > site.largest_body:
            return _too_large(site)
        try:
            async with (
                site.throttle.place(),
                site.supervisor.request(function, _head(request, raw_path, found.parameters)) as call,
            ):
                return await self._exchange(request, site, call)
        except TooBusyError:
            return _answer(429, "the app takes no more requests at once", {"Retry-After": "1"})
        except WorkerLostError as error:
            return _answer(502, str(error))

    async def _host_route(self, request: web.BaseRequest, raw_path: str) -> web.StreamResponse:
        path = raw_path.lower()
        if path == "/admin" or path.startswith("/admin/"):
            return await self._admin.answer(request, raw_path)
        if path != MANAGEMENT and not path.startswith(f"{MANAGEMENT}/"):
            return _answer(404)
        if not self._door.admits_to_durable(request):
            return _answer(401)
        try:
            site = await self._serving.loaded()
        except AppUnavailableError as error:
            return _answer(503, str(error))
        return await site.management.answer(request, raw_path)

    async def _exchange(self, request: web.BaseRequest, site: Site, call: HttpCall) -> web.StreamResponse:
        upload = (
            asyncio.create_task(_upload(request, call, site.largest_body)) if request.body_exists else None
        )
        try:
            head = await call.next_part()
            if isinstance(head, ResponseHead):
                return await self._respond(request, site, call, head)
            if upload is not None and upload.done() and not upload.result():
                return _too_large(site)
            if call.timed_out:
                return _answer(504, "the function took too long")
            await call.result  # the function failed before it answered, or the worker died
            return _answer(500, "Internal Server Error")
        finally:
            if upload is not None:
                upload.cancel()
                await asyncio.wait([upload])

    async def _respond(
        self, request: web.BaseRequest, site: Site, call: HttpCall, head: ResponseHead
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=head.status, headers=site.headers)
        for name, value in head.headers:
            if name.lower() not in _HOP_BY_HOP:
                response.headers.add(name, value)
        _complete(response, request[_CORS])
        bodiless = request.method == "HEAD" or head.status in (204, 304)
        if response.content_length is None and request.version >= (1, 1) and not bodiless:
            response.enable_chunked_encoding()
        task = asyncio.current_task()
        endless = response.headers.get("Content-Type", "").startswith(_EVENT_STREAM)
        if endless and task is not None:
            self._streams.add(task)
            task.add_done_callback(self._streams.discard)
            if self._stopping:
                task.cancel()
        await response.prepare(request)
        while isinstance(piece := await call.next_part(), bytes):
            if not bodiless:
                await response.write(piece)
            call.taken(len(piece))
        if call.answered:
            await response.write_eof()
        elif request.transport is not None:
            request.transport.abort()  # a response that ends too early must not look complete
        return response


def _answer(status: int, text: str = "", headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer of the host itself."""
    return web.Response(status=status, text=text or None, headers=headers)


def _too_large(site: Site) -> web.Response:
    """The rest of the body is not read: the connection is of no use any more."""
    answer = _answer(413, f"the body is larger than {site.largest_body} bytes")
    answer.force_close()
    return answer


def _complete(response: web.StreamResponse, cors: dict[str, str]) -> None:
    """Add what every answer has."""
    response.headers["Server"] = "aos"
    for name, value in cors.items():
        if name == "Vary":
            response.headers.add(name, value)
        else:
            response.headers[name] = value


async def _upload(request: web.BaseRequest, call: HttpCall, most: int) -> bool:
    """Pass the body on; false when it is larger than `most` bytes, and then the function is given up."""
    with contextlib.suppress(OSError, web.RequestPayloadError):  # the client went away: the handler is told
        return await _upload_pieces(request, call, most)
    return True


async def _upload_pieces(request: web.BaseRequest, call: HttpCall, most: int) -> bool:
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    size = 0
    async for piece in request.content.iter_chunked(64 * 1024):
        size += len(piece)
        if size > most:
            call.cancel()
            return False
        if not await call.upload(piece):
            return True
    call.upload_end()
    return True


def _head(request: web.BaseRequest, raw_path: str, parameters: dict[str, str]) -> dict[str, Any]:
    transport = request.transport
    client = transport.get_extra_info("peername") if transport is not None else None
    server = transport.get_extra_info("sockname") if transport is not None else None
    return {
        "method": request.method,
        "path": unquote(raw_path),
        "raw_path": raw_path,
        "query": request.raw_path.partition("?")[2],
        "url": f"http://{request.host}{request.raw_path}",
        "http_version": f"{request.version.major}.{request.version.minor}",
        "headers": [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers],
        "params": parameters,
        "client": client[:2] if client else None,
        "server": server[:2] if server else ("", 0),
        "has_body": request.body_exists,
    }
