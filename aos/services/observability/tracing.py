"""Spans, and how a trace travels with what a later process takes up.

Attributes name things: workflows, runs, steps, agents, tools. They never hold what was said, given or
answered, and an error is told by its kind alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

TRACEPARENT = "traceparent"
"""The name under which W3C Trace Context travels, in headers and in messages' properties."""

_tracer = trace.get_tracer("aos")

type Attributes = Mapping[str, str | int | float | bool]


@contextlib.contextmanager
def span(
    name: str,
    attributes: Attributes,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Context | None = None,
) -> Iterator[Span]:
    """A span around the block; below ``parent``, or else below the current one."""
    with _tracer.start_as_current_span(
        name,
        context=parent,
        kind=kind,
        attributes=attributes,
        # Either would write down the error's message, which may hold anything.
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except Exception as error:
            fail(current, type(error).__name__)
            raise


def fail(current: Span, kind: str) -> None:
    """Say that what the span tells of failed, and how by its kind."""
    current.set_status(Status(StatusCode.ERROR))
    current.set_attribute("error.type", kind)


def fail_current(kind: str) -> None:
    """Say it of the span that is current, wherever it was begun."""
    fail(trace.get_current_span(), kind)


def carried() -> dict[str, str]:
    """The current place in the trace, to go along with a message or a row; empty outside of any."""
    carrier: dict[str, str] = {}
    if trace.get_current_span().get_span_context().is_valid:
        propagate.inject(carrier)
    return carrier


def taken_up(traceparent: str | None) -> Context:
    """The place in a trace that was carried here; without one, the beginning of a new trace."""
    return propagate.extract({TRACEPARENT: traceparent} if traceparent else {}, Context())
