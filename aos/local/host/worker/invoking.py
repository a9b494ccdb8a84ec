"""Invoking functions that are not HTTP: a trigger's data in, the returned data out."""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aos.local.host.frames import unpack
from aos.local.host.worker.classic import failure_in, invoke_classic, outputs_in, returned_in
from aos.local.host.worker.failures import failure_of, forget
from aos.local.host.worker.loading import Message
from aos.local.host.worker.outputs import Deliver, Output
from aos.local.host.worker.runtime import (
    Datum,
    handle_event,
    invocation_id_cv,
    invocation_request_native,
)

_DURABLE_CLIENT = "durableclient"
RETURN = "$return"
_TURNS = {"orchestrationTrigger", "entityTrigger"}


class Function:
    """What the worker must know of a function to feed it; `info` is what the library knows.

    One that is `simple` has an activity trigger alone and is not async.
    """

    def __init__(self, described: dict[str, Any]) -> None:
        self.id = str(described["id"])
        self.name = str(described["name"])
        trigger = next(b for b in described["bindings"] if str(b["type"]).endswith("Trigger"))
        self.trigger_type = str(trigger["type"])
        self.trigger_name = str(trigger["name"])
        self.binary = str(trigger.get("dataType", "")).lower() == "binary"
        self.many = str(trigger.get("cardinality", "")).lower() == "many"
        self.sdk_types = bool(described["deferred"])
        self.classic = self.sdk_types or bool(described["settlement"])
        self.clients = [
            str(b["name"]) for b in described["bindings"] if str(b["type"]).lower() == _DURABLE_CLIENT
        ]
        self._outputs = {str(b["name"]) for b in described["bindings"] if _sends(b)}
        self.sends = bool(self._outputs)
        self.returns_message = RETURN in self._outputs
        self.info = handle_event._functions.get_function(self.id)
        self.simple = (
            self.trigger_type == "activityTrigger"
            and len(described["bindings"]) == 1
            and not (self.info.is_async or self.classic)
        )

    @property
    def cancellable(self) -> bool:
        """True when cancelling the invocation really stops it: no thread runs on behind it."""
        return bool(self.info and self.info.is_async) and self.trigger_type not in _TURNS

    def messages(self, outputs: Iterable[Output]) -> list[Output]:
        """Of an invocation's outputs, those that go to Service Bus."""
        return [output for output in outputs if output[0] in self._outputs]


@dataclass(frozen=True, slots=True)
class Invocation:
    """One invocation that is not HTTP, and what its outputs are given to."""

    id: str
    metadata: dict[str, Any]
    retry: dict[str, Any]
    body: bytes
    deliver: Deliver


class Invoker:
    """Runs invocations through the library's path without protobuf."""

    def __init__(self, client_configuration: str) -> None:
        self._client = Datum(client_configuration, "string")

    async def run(self, function: Function, invocation: Invocation) -> tuple[dict[str, Any], bytes]:
        """The head and body of the result: `{"ok": true}` and data, or `{"ok": false, ...}` and why."""
        datum = _trigger_datum(function, invocation.body)
        if function.classic:
            return await self._run_classic(function, invocation, datum)
        ok, returned, outputs, text, trace = await self.call(
            function, invocation.id, datum, invocation.metadata, invocation.retry
        )
        if not ok:
            return {"ok": False, **failure_of(invocation.id, text or "", trace or "")}, b""
        return await self._succeeded(function, invocation, outputs_of(outputs, returned), returned)

    async def _run_classic(
        self, function: Function, invocation: Invocation, datum: Datum
    ) -> tuple[dict[str, Any], bytes]:
        invocation_id_cv.set(invocation.id)  # by which the function's failure is found again
        inputs, metadata = self._inputs(function, datum), _metadata_datums(invocation.metadata)
        response = await invoke_classic(function.id, invocation.id, inputs, metadata)
        failure = failure_in(response)
        if failure is not None:
            return {"ok": False, **failure_of(invocation.id, *failure)}, b""
        returned = returned_in(response)
        outputs = [*outputs_in(response), *outputs_of([], returned)]
        return await self._succeeded(function, invocation, outputs, returned)

    async def _succeeded(
        self, function: Function, invocation: Invocation, outputs: Iterable[Output], returned: Datum | None
    ) -> tuple[dict[str, Any], bytes]:
        forget(invocation.id)
        if function.sends:
            await invocation.deliver(function.messages(outputs))
        return {"ok": True}, returned_data(function, returned)

    async def call(
        self,
        function: Function,
        invocation_id: str,
        datum: Datum,
        metadata: dict[str, Any],
        retry: dict[str, Any],
    ) -> tuple[bool, Datum | None, list[tuple[str, Datum]], str | None, str | None]:
        """One native invocation, as the library answers it."""
        inputs, datums = self._inputs(function, datum), _metadata_datums(metadata)
        return await invocation_request_native(  # type: ignore[no-any-return]
            invocation_id, function.id, inputs, datums, **_retry_context(retry)
        )

    def _inputs(self, function: Function, datum: Datum) -> list[tuple[str, Datum]]:
        return [(function.trigger_name, datum), *((name, self._client) for name in function.clients)]


def _sends(binding: dict[str, Any]) -> bool:
    kind, direction = str(binding["type"]).lower(), str(binding.get("direction", "in")).lower()
    return (kind, direction) == ("servicebus", "out")


def _trigger_datum(function: Function, body: bytes) -> Datum:
    if function.trigger_type in _TURNS:
        return Datum(base64.b64encode(body).decode(), "string")
    if function.trigger_type == "serviceBusTrigger":
        return _messages_datum(function, body) if function.many else _message_datum(function, body)
    return Datum(body.decode(), "json")


def _message_datum(function: Function, body: bytes) -> Datum:
    if function.sdk_types:
        return Datum(_sdk_message(body), "model_binding_data")
    return Datum(body, "bytes") if function.binary else Datum(_text(body), "string")


def _messages_datum(function: Function, payload: bytes) -> Datum:
    """Several messages: their sizes, then their bodies."""
    head, joined = unpack(payload)
    bodies, start = [], 0
    for size in head["sizes"]:
        bodies.append(joined[start : start + size])
        start += size
    if function.sdk_types:
        messages = Message(model_binding_data=[_sdk_message(body) for body in bodies])
        return Datum(messages, "collection_model_binding_data")
    if function.binary:
        return Datum(Message(bytes=bodies), "collection_bytes")
    return Datum(Message(string=[_text(body) for body in bodies]), "collection_string")


def _sdk_message(body: bytes) -> Message:
    """What the app's extension makes an SDK type of."""
    return Message(
        version="1.0",
        source="AzureServiceBusReceivedMessage",
        content_type="application/octet-stream",
        content=body,
    )


def _text(body: bytes) -> str:
    """A body as text, as the extension makes it: what is no text is lost, unless dataType is binary."""
    return body.decode(errors="replace")


def _retry_context(retry: dict[str, Any]) -> dict[str, Any]:
    """What the library's context is to tell of retries; nothing when there can be none."""
    if not retry:
        return {}
    failure = retry["failure"]
    exception = failure and Message(source="", stack_trace=failure["trace"], message=failure["message"])
    return {
        "retry_count": retry["count"],
        "max_retry_count": retry["max"],
        "retry_exception": exception,
    }


def outputs_of(datums: Iterable[tuple[str, Datum]], returned: Datum | None) -> list[Output]:
    """All that an invocation put out by name, what it returned among them."""
    made = [*datums, (RETURN, returned)]
    return [(name, datum.type, datum.value) for name, datum in made if datum is not None and datum.type]


def _metadata_datums(metadata: dict[str, Any]) -> dict[str, Datum]:
    return {name: _metadata_datum(value) for name, value in metadata.items()}


def _metadata_datum(value: object) -> Datum:
    if isinstance(value, str):
        return Datum(value, "string")
    if isinstance(value, int) and not isinstance(value, bool):
        return Datum(value, "int")
    return Datum(json.dumps(value), "json")


def returned_data(function: Function, datum: Datum | None) -> bytes:
    """What a function returned, as the host gets it."""
    if datum is None or datum.value is None:
        return b""
    if function.trigger_type in _TURNS:
        return base64.b64decode(datum.value)
    if function.returns_message and datum.type == "string":  # for the one who called it is a JSON value
        return json.dumps(datum.value).encode()
    return datum.value if isinstance(datum.value, bytes) else str(datum.value).encode()
