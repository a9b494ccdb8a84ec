"""A dead letter in the trace of its run."""

from __future__ import annotations

import json

import pytest
from azure.functions.servicebus import ServiceBusMessage
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from step_world import World

from aos.functions import service_bus
from aos.services.observability.tracing import carried, span


class Attached:
    """The way to the durable engine, which the message brings."""

    def attach(self, client: str) -> None:
        assert client == "client"


async def test_a_dead_letter_stands_in_its_runs_trace_as_a_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("aos.services.observability.tracing._tracer", provider.get_tracer("test"))
    monkeypatch.setattr(service_bus, "system", lambda: world.system)
    monkeypatch.setattr(service_bus, "engine", Attached)
    await world.accept("{name: w, steps: [{id: a, kind: tool, tool: pay}]}")
    await world.prepare()
    with span("send", {}):
        properties = carried() | {"DeadLetterReason": "MaxDeliveryCountExceeded"}
    message = ServiceBusMessage(
        body=json.dumps(world.message().to_json()).encode(),
        message_id="m1",
        application_properties=properties,
        user_properties={},
        delivery_count=6,
    )
    await service_bus.end_dead_letter._function.get_user_function()(message, "client")
    assert (await world.result()).reason == "the step's message was dead-lettered (MaxDeliveryCountExceeded)"
    sent, taken = exporter.get_finished_spans()
    assert taken.name == "process agent-steps/$DeadLetterQueue"
    assert taken.parent is not None
    assert taken.parent.span_id == sent.context.span_id
    assert taken.attributes is not None
    assert taken.attributes["error.type"] == "dead_letter"
    assert not taken.status.is_ok
