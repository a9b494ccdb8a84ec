import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import get_current_span

from aos.services.observability import tracing
from aos.services.observability.tracing import TRACEPARENT, carried, span, taken_up
from aos.services.runs.run import Run


@pytest.fixture(autouse=True)
def tracer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_tracer", TracerProvider().get_tracer("test"))


def test_what_was_carried_along_is_taken_up_where_it_stood():
    with span("request", {}) as request:
        carrier = carried()
    with span("step", {}, parent=taken_up(carrier[TRACEPARENT])) as step:
        assert step.get_span_context().trace_id == request.get_span_context().trace_id


@pytest.mark.parametrize("traceparent", [None, "", "no trace at all"])
def test_without_a_place_in_a_trace_a_new_one_begins(traceparent: str | None):
    with (
        span("somebody else's", {}) as other,
        span("step", {}, parent=taken_up(traceparent)) as step,
    ):
        assert step.get_span_context().trace_id != other.get_span_context().trace_id


def test_a_run_of_before_there_were_traces_is_read_and_begins_one():
    row = {
        "id": "r",
        "tenant": "t",
        "workflow": "w",
        "definition": "d",
        "status": "running",
        "created_at": 0.0,
        "created_by": "user:ann",
        "input": {},
    }
    with span("end_run", {}, parent=taken_up(Run.from_json(row).trace)):
        assert get_current_span().get_span_context().is_valid


def test_outside_of_any_trace_nothing_is_carried():
    assert carried() == {}
