"""The library's classic path, which its native one does not replace: HTTP v2, SDK types, settling."""

from collections.abc import Iterable, Mapping
from typing import Any

from aos.local.host.worker.loading import Message, Protos
from aos.local.host.worker.outputs import Output
from aos.local.host.worker.runtime import Datum, handle_event


async def invoke_classic(
    function_id: str,
    invocation_id: str,
    inputs: Iterable[tuple[str, Datum]],
    metadata: Mapping[str, Datum],
    traceparent: str = "",
) -> Any:
    """One invocation; the response as the library makes it."""
    invocation = Message(
        invocation_id=invocation_id,
        function_id=function_id,
        input_data=[Message(name=name, data=_typed(datum)) for name, datum in inputs],
        trigger_metadata={name: _typed(datum) for name, datum in metadata.items()},
        trace_context=Message(trace_parent=traceparent, trace_state="", attributes={}),
        retry_context=Message(retry_count=0, max_retry_count=0, exception=None),
    )
    return await handle_event.invocation_request(Message(request=Message(invocation_request=invocation)))


def failure_in(response: Any) -> tuple[str, str] | None:
    """The text and traceback of a failed invocation."""
    result = response.result
    if result.status == Protos.StatusResult.Success:
        return None
    return result.exception.message, result.exception.stack_trace


def outputs_in(response: Any) -> list[Output]:
    """What the function put out, but for what it returned."""
    return [(each.name, *_untyped(each.data)) for each in response.output_data]


def returned_in(response: Any) -> Datum | None:
    """What the function returned."""
    if response.return_value is None:
        return None
    kind, value = _untyped(response.return_value)
    return Datum(value, kind)


def _typed(datum: Datum) -> Message:
    # The library reads no "int" back.
    kind, value = ("json", str(datum.value)) if datum.type == "int" else (datum.type, datum.value)
    return Message(**{kind: value})


def _untyped(data: Message) -> tuple[str, Any]:
    kind = data.WhichOneof("data")
    assert kind is not None, "what was not set is left out"
    return kind, getattr(data, kind)
