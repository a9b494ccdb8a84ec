"""The Service Bus functions: steps are run, and steps that cannot be run are ended."""

from __future__ import annotations

import json
import logging
from contextlib import AbstractContextManager
from datetime import UTC

import azure.functions as func
from opentelemetry.trace import Span, SpanKind

from aos.functions.process import engine, system
from aos.kernel.errors import InvalidInput
from aos.kernel.messaging.step_message import AGENT_STEPS, StepMessage
from aos.services.observability.metrics import CONSUMED, MESSAGE_LATENCY
from aos.services.observability.tracing import TRACEPARENT, Attributes, fail, span, taken_up

_LOG = logging.getLogger(__name__)

blueprint = func.Blueprint()
_DEAD_LETTERS = f"{AGENT_STEPS}/$DeadLetterQueue"


@blueprint.service_bus_queue_trigger(
    arg_name="message", queue_name=AGENT_STEPS, connection="ServiceBusConnection"
)
@blueprint.generic_input_binding(arg_name="client", type="durableClient")
async def run_agent_step(message: func.ServiceBusMessage, client: str) -> None:
    """Run a step. A failure of the step is its result; this raises only when none could be written."""
    engine().attach(client)
    with _taken(message, AGENT_STEPS):
        await system().worker.handle(_step(message))


@blueprint.service_bus_queue_trigger(
    arg_name="message", queue_name=_DEAD_LETTERS, connection="ServiceBusConnection"
)
@blueprint.generic_input_binding(arg_name="client", type="durableClient")
async def end_dead_letter(message: func.ServiceBusMessage, client: str) -> None:
    """End a step whose message was delivered too often: nothing waits for it for ever."""
    engine().attach(client)
    try:
        step = _step(message)
    except InvalidInput as error:
        _LOG.error("message %s is dropped: %s", message.message_id, error.message)
        return
    # The extension fills message.dead_letter_reason for no function: it is an application property.
    reason = message.application_properties.get("DeadLetterReason", "unknown")
    with _taken(message, _DEAD_LETTERS) as current:
        fail(current, "dead_letter")
        await system().worker.give_up(step, f"the step's message was dead-lettered ({reason})")


def _taken(message: func.ServiceBusMessage, queue: str) -> AbstractContextManager[Span]:
    """The span of a message that was taken from a queue, below the one that sent it."""
    CONSUMED.add(1, {"queue": queue})
    if message.enqueued_time_utc is not None:
        waited_s = system().clock() - message.enqueued_time_utc.replace(tzinfo=UTC).timestamp()
        MESSAGE_LATENCY.record(max(0.0, waited_s), {"queue": queue})
    attributes: Attributes = {
        "messaging.system": "servicebus",
        "messaging.operation.name": "process",
        "messaging.destination.name": queue,
        "messaging.message.id": message.message_id or "",
        "messaging.servicebus.message.delivery_count": message.delivery_count or 0,
    }
    traceparent = message.application_properties.get(TRACEPARENT)
    parent = taken_up(traceparent if isinstance(traceparent, str) else None)
    return span(f"process {queue}", attributes, kind=SpanKind.CONSUMER, parent=parent)


def _step(message: func.ServiceBusMessage) -> StepMessage:
    try:
        value = json.loads(message.get_body())
    except ValueError as error:
        raise InvalidInput(f"this is no step message: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInput("this is no step message: it is not an object")
    return StepMessage.from_json(value)
