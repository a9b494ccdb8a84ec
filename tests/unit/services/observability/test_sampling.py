from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Status, StatusCode, Tracer

from aos.services.observability.sampling import KeepErrors, WithoutQueries

LOW, HIGH = 1, 2**64 - 1


class Ids(IdGenerator):
    """Trace ids as the test wants them: their low half decides."""

    def __init__(self) -> None:
        self.trace = LOW
        self.last = 0

    def generate_trace_id(self) -> int:
        return (7 << 64) + self.trace

    def generate_span_id(self) -> int:
        self.last += 1
        return self.last


def tracing(share: float) -> tuple[Tracer, Ids, InMemorySpanExporter]:
    ids, exporter = Ids(), InMemorySpanExporter()
    provider = TracerProvider(sampler=ALWAYS_ON, id_generator=ids)
    provider.add_span_processor(KeepErrors(SimpleSpanProcessor(exporter), share))
    return provider.get_tracer("test"), ids, exporter


def names(spans: tuple[ReadableSpan, ...]) -> list[str]:
    return [span.name for span in spans]


def test_a_trace_is_kept_or_dropped_as_a_whole_by_its_id():
    tracer, ids, exporter = tracing(0.5)
    for ids.trace, name in ((LOW, "kept"), (HIGH, "dropped")):
        with tracer.start_as_current_span(name), tracer.start_as_current_span(f"{name} below"):
            pass
    assert names(exporter.get_finished_spans()) == ["kept below", "kept"]


def test_what_failed_is_kept_with_what_it_was_part_of():
    tracer, ids, exporter = tracing(0.0)
    ids.trace = HIGH
    with tracer.start_as_current_span("request"):
        with tracer.start_as_current_span("well"):
            pass
        with tracer.start_as_current_span("step"), tracer.start_as_current_span("tool") as tool:
            tool.set_status(Status(StatusCode.ERROR))
    assert names(exporter.get_finished_spans()) == ["tool", "step", "request"]


def test_every_trace_is_kept_when_all_are_wanted():
    tracer, ids, exporter = tracing(1.0)
    for ids.trace in (LOW, HIGH):
        with tracer.start_as_current_span("span"):
            pass
    assert len(exporter.get_finished_spans()) == 2


def test_failures_of_very_many_traces_take_bounded_memory():
    exporter = InMemorySpanExporter()
    keep = KeepErrors(SimpleSpanProcessor(exporter), 0.0)
    provider = TracerProvider(sampler=ALWAYS_ON)
    provider.add_span_processor(keep)
    tracer = provider.get_tracer("test")
    for _ in range(10_100):
        with tracer.start_as_current_span("failed") as span:
            span.set_status(Status(StatusCode.ERROR))
    assert len(keep._failed) == 10_000
    assert len(exporter.get_finished_spans()) == 10_100


def test_what_a_url_asks_is_left_out():
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(WithoutQueries())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    attributes = {"url.path": "/api/runs", "url.query": "key=aos_0123"}
    provider.get_tracer("test").start_span("GET", attributes=attributes).end()
    (span,) = exporter.get_finished_spans()
    assert span.attributes == {"url.path": "/api/runs", "url.query": "REDACTED"}
