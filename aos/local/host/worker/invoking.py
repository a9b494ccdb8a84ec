"""Invoking functions that are not HTTP: a trigger's data in, the returned data out."""

import base64
import json
from typing import Any

from aos.local.host.worker.failures import failure_of, forget
from aos.local.host.worker.runtime import Datum, handle_event, invocation_request_native

DURABLE_CLIENT = "durableClient"
_TURNS = {"orchestrationTrigger", "entityTrigger"}


class Function:
    """What the worker must know of a function to feed it."""

    def __init__(self, described: dict[str, Any]) -> None:
        self.id = str(described["id"])
        self.name = str(described["name"])
        trigger = next(b for b in described["bindings"] if str(b["type"]).endswith("Trigger"))
        self.trigger_type = str(trigger["type"])
        self.trigger_name = str(trigger["name"])
        self.binary = str(trigger.get("dataType", "")).lower() == "binary"
        self.clients = [str(b["name"]) for b in described["bindings"] if b["type"] == DURABLE_CLIENT]

    @property
    def cancellable(self) -> bool:
        """True when cancelling the invocation really stops it: no thread runs on behind it."""
        info = handle_event._functions.get_function(self.id)
        return bool(info and info.is_async) and self.trigger_type not in _TURNS


class Invoker:
    """Runs invocations through the library's path without protobuf."""

    def __init__(self, client_configuration: str) -> None:
        self._client = Datum(client_configuration, "string")

    async def run(
        self, function: Function, invocation_id: str, metadata: dict[str, Any], body: bytes
    ) -> tuple[dict[str, Any], bytes]:
        """The head and body of the result: `{"ok": true}` and data, or `{"ok": false, ...}` and why."""
        ok, returned, _outputs, text, trace = await self.call(
            function, invocation_id, _trigger_datum(function, body), metadata
        )
        if not ok:
            return {"ok": False, **failure_of(invocation_id, text or "", trace or "")}, b""
        forget(invocation_id)
        return {"ok": True}, _returned(function, returned)

    async def call(
        self, function: Function, invocation_id: str, datum: Datum, metadata: dict[str, Any]
    ) -> tuple[bool, Datum | None, list[tuple[str, Datum]], str | None, str | None]:
        """One native invocation, as the library answers it."""
        inputs = [(function.trigger_name, datum), *((name, self._client) for name in function.clients)]
        datums = {name: _metadata_datum(value) for name, value in metadata.items()}
        return await invocation_request_native(invocation_id, function.id, inputs, datums)  # type: ignore[no-any-return]


def _trigger_datum(function: Function, body: bytes) -> Datum:
    if function.trigger_type in _TURNS:
        return Datum(base64.b64encode(body).decode(), "string")
    if function.trigger_type == "serviceBusTrigger":
        return _message_datum(body, binary=function.binary)
    return Datum(body.decode(), "json")


def _message_datum(body: bytes, *, binary: bool) -> Datum:
    """Text unless the binding asks for bytes, or it is not text."""
    try:
        return Datum(body, "bytes") if binary else Datum(body.decode(), "string")
    except UnicodeDecodeError:
        return Datum(body, "bytes")


def _metadata_datum(value: object) -> Datum:
    if isinstance(value, str):
        return Datum(value, "string")
    if isinstance(value, int) and not isinstance(value, bool):
        return Datum(value, "int")
    return Datum(json.dumps(value), "json")


def _returned(function: Function, datum: Datum | None) -> bytes:
    if datum is None or datum.value is None:
        return b""
    if function.trigger_type in _TURNS:
        return base64.b64decode(datum.value)
    return datum.value if isinstance(datum.value, bytes) else str(datum.value).encode()
