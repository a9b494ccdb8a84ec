"""What is left out of traces: those that are not sampled, unless they failed, and what URLs ask."""

from __future__ import annotations

from collections import OrderedDict

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import StatusCode

_REMEMBERED = 10_000
_URL_QUERY = "url.query"


class KeepErrors(SpanProcessor):
    """Passes on the spans of a share of the traces, and of the others what failed and what it was part of.

    The share is chosen by trace id, so that all processes choose the same traces. A span ends after
    those below it: once one fails, what ends later in its trace, in this process, is passed on too.
    """

    def __init__(self, following: SpanProcessor, share: float) -> None:
        self._following = following
        self._bound = round(share * 2**64)
        self._failed: OrderedDict[int, None] = OrderedDict()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Tell the one that follows."""
        self._following.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Pass the span on, or drop it."""
        trace_id = span.context.trace_id
        if span.status.status_code is StatusCode.ERROR:
            self._failed[trace_id] = None
            while len(self._failed) > _REMEMBERED:
                self._failed.popitem(last=False)
        if trace_id & (2**64 - 1) < self._bound or trace_id in self._failed:
            self._following.on_end(span)

    def shutdown(self) -> None:
        """Write what is waiting, and end."""
        self._following.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Write what is waiting."""
        return self._following.force_flush(timeout_millis)


class WithoutQueries(SpanProcessor):
    """Takes the query out of URLs: whoever puts a key there by mistake does not find it in a trace."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Replace the query that the span was made with."""
        if span.attributes and _URL_QUERY in span.attributes:
            span.set_attribute(_URL_QUERY, "REDACTED")
