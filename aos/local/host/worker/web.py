"""HTTP functions: one stream of frames made into an ASGI call (HTTP v2), or a classic request."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast
from urllib.parse import parse_qsl

from aos.local.host.frames import Kind, Window, credit, pack
from aos.local.host.worker.classic import invoke_classic, outputs_in
from aos.local.host.worker.failures import failure_from, failure_of, forget
from aos.local.host.worker.invoking import Function, Invoker, outputs_of
from aos.local.host.worker.loading import Message
from aos.local.host.worker.outputs import Deliver
from aos.local.host.worker.runtime import Datum, HttpV2Registry, http_coordinator

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
AsgiApp = Callable[[Event, Receive, Send], Awaitable[None]]

_METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"]
_PIECE = 64 * 1024
_CALL = "aos.call"


class Exchange:
    """One HTTP request and its response, as ASGI's `receive` and `send`."""

    def __init__(self, send_frame: Callable[[Kind, bytes], None], *, has_body: bool) -> None:
        self._send_frame = send_frame
        self._pieces: deque[bytes] = deque()
        self._complete = not has_body
        self._delivered = False
        self._disconnected = False
        self._answered = False
        self._changed = asyncio.Event()
        self._window = Window()

    def feed(self, piece: bytes) -> None:
        """A piece of the request's body arrived."""
        self._pieces.append(piece)
        self._changed.set()

    def finish(self) -> None:
        """The request's body is complete."""
        self._complete = True
        self._changed.set()

    def disconnect(self) -> None:
        """The client went away: the app is told, and what it still sends goes nowhere."""
        self._disconnected = True
        self._window.close()
        self._changed.set()

    def grant(self, size: int) -> None:
        """The client took `size` bytes of the response."""
        self._window.grant(size)

    @property
    def _at_end(self) -> bool:
        return self._complete and not self._delivered

    async def receive(self) -> Event:
        """ASGI: the next event of the request."""
        while not (self._pieces or self._disconnected or self._answered or self._at_end):
            self._changed.clear()
            await self._changed.wait()
        if self._pieces:
            piece = self._pieces.popleft()
            self._send_frame(Kind.CREDIT, credit(len(piece)))
            return {"type": "http.request", "body": piece, "more_body": True}
        if self._at_end and not self._disconnected:
            self._delivered = True
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.disconnect"}

    async def send(self, event: Event) -> None:
        """ASGI: a part of the response."""
        if event["type"] == "http.response.start":
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event["headers"]]
            self._send_frame(Kind.HEAD, pack({"status": event["status"], "headers": headers}))
        elif event["type"] == "http.response.body":
            body = bytes(event.get("body", b""))
            for start in range(0, len(body), _PIECE):
                piece = body[start : start + _PIECE]
                if await self._window.take(len(piece)):
                    self._send_frame(Kind.BODY, piece)
            if not event.get("more_body", False):
                self._answered = True
                self._send_frame(Kind.END, b"")
                self._changed.set()

    async def read(self) -> bytes:
        """The whole request body."""
        body = bytearray()
        while (event := await self.receive())["type"] == "http.request" and event["more_body"]:
            body += event["body"]
        return bytes(body)


class Web:
    """Answers HTTP invocations in whichever of the two forms the app is written."""

    def __init__(self, invoker: Invoker, client_configuration: str, *, http_v2: bool) -> None:
        self._invoker = invoker
        self._client = client_configuration
        self._asgi = _web_app(self._invoke_v2) if http_v2 else None

    async def run(
        self,
        function: Function,
        invocation_id: str,
        head: dict[str, Any],
        exchange: Exchange,
        deliver: Deliver,
    ) -> dict[str, Any]:
        """Answer one request; the head of the result frame that closes the stream.

        What goes to other outputs is delivered before the response begins.
        """
        if self._asgi is None:
            return await self._run_classic(function, invocation_id, head, exchange, deliver)
        scope = {**_scope(head), _CALL: (function, invocation_id, head, deliver)}
        try:
            await self._asgi(scope, exchange.receive, exchange.send)
        except Exception as error:  # noqa: BLE001 - whatever the app raised is the invocation's failure
            return {"ok": False, **failure_from(invocation_id, error)}
        forget(invocation_id)
        return {"ok": True}

    async def _invoke_v2(self, request: Any) -> Any:
        """Hand the web framework's own request to the library, as its HTTP server would."""
        function, invocation_id, head, deliver = request.scope[_CALL]
        http_coordinator.set_http_request(invocation_id, request)
        try:
            response = await self._invoke_classic(function, invocation_id, head)
            answer = await http_coordinator.await_http_response_async(invocation_id)
        finally:
            http_coordinator._context_references.pop(invocation_id, None)  # the library keeps it for ever
        if isinstance(answer, Exception):
            raise answer
        if function.sends:
            await deliver(function.messages(outputs_in(response)))
        return answer

    async def _invoke_classic(self, function: Function, invocation_id: str, head: dict[str, Any]) -> Any:
        inputs = [(function.trigger_name, _empty_request(head))]
        inputs += [(name, Datum(self._client, "string")) for name in function.clients]
        return await invoke_classic(function.id, invocation_id, inputs, {}, _header(head, "traceparent"))

    async def _run_classic(
        self,
        function: Function,
        invocation_id: str,
        head: dict[str, Any],
        exchange: Exchange,
        deliver: Deliver,
    ) -> dict[str, Any]:
        body = await exchange.read()
        ok, returned, outputs, text, trace = await self._invoker.call(
            function, invocation_id, _classic_request(head, body), {}, {}
        )
        if not ok:
            return {"ok": False, **failure_of(invocation_id, text or "", trace or "")}
        forget(invocation_id)
        if function.sends:
            await deliver(function.messages(outputs_of(outputs, returned)))
        answer = next((datum for _name, datum in outputs if datum.type == "http"), None)
        if answer is None and not function.returns_message:
            answer = returned
        status, headers, content = _classic_response(answer)
        await exchange.send({"type": "http.response.start", "status": status, "headers": headers})
        await exchange.send({"type": "http.response.body", "body": content})
        return {"ok": True}


def _web_app(endpoint: Callable[[Any], Awaitable[Any]]) -> AsgiApp:
    """The framework's app around `endpoint`: it turns what functions return into responses."""
    from fastapi import FastAPI  # noqa: PLC0415 - only apps with HTTP v2 bring it

    app = FastAPI(openapi_url=None)

    async def answer(request: Any) -> Any:
        return await endpoint(request)

    answer.__annotations__["request"] = HttpV2Registry.ext_base().RequestTrackerMeta.get_request_type()
    app.api_route("/{path:path}", methods=_METHODS)(answer)
    return cast("AsgiApp", app)


def _scope(head: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head["http_version"],
        "method": head["method"],
        "scheme": "http",
        "path": head["path"],
        "raw_path": head["raw_path"].encode("latin-1"),
        "query_string": head["query"].encode("latin-1"),
        "root_path": "",
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in head["headers"]
        ],
        "client": tuple(head["client"]) if head["client"] else None,
        "server": tuple(head["server"]),
    }


def _empty_request(head: dict[str, Any]) -> Datum:
    """The request as it stands in an invocation of HTTP v2: the web framework's own replaces it."""
    http = Message(
        method=head["method"],
        url=head["url"],
        headers={},
        query={},
        body=Message(bytes=b""),
        params=head["params"],
    )
    return Datum(http, "http")


def _header(head: dict[str, Any], wanted: str) -> str:
    return next((value for name, value in head["headers"] if name.lower() == wanted), "")


def _joined(pairs: list[tuple[str, str]]) -> dict[str, Datum]:
    """Values by name; those that are empty do not reach a function, as from the Functions host."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    joined = {name: ",".join(several) for name, several in values.items()}
    return {name: Datum(value, "string") for name, value in joined.items() if value}


def _classic_request(head: dict[str, Any], body: bytes) -> Datum:
    return Datum(
        {
            "method": Datum(head["method"], "string"),
            "url": Datum(head["url"], "string"),
            "headers": _joined([(name.lower(), value) for name, value in head["headers"]]),
            "query": _joined(parse_qsl(head["query"], keep_blank_values=True)),
            "params": {name: Datum(value, "string") for name, value in head["params"].items()},
            "body": Datum(body, "bytes"),
        },
        "http",
    )


def _classic_response(datum: Datum | None) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    if datum is None or datum.value is None:
        return 204, [], b""
    if datum.type != "http":
        content = (datum.value if isinstance(datum.value, str) else str(datum.value)).encode()
        return 200, [(b"content-type", b"text/plain; charset=utf-8"), _length(content)], content
    value = datum.value
    headers = [
        (name.encode("latin-1"), field.value.encode("latin-1"))
        for name, field in value["headers"].items()
        if name.lower() != "content-length"
    ]
    for jar in value.get("cookies") or ():
        headers += [(b"set-cookie", morsel.OutputString().encode("latin-1")) for morsel in jar.values()]
    body = value["body"].value or b""
    content = body if isinstance(body, bytes) else body.encode()
    return int(value["status_code"].value), [*headers, _length(content)], content


def _length(content: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(content)).encode()
