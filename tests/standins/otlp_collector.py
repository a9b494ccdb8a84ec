"""An OpenTelemetry collector: it takes OTLP over HTTP and keeps the spans and metrics."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """A span as it arrived."""

    trace: str
    id: str
    parent: str
    name: str
    attributes: dict[str, Any]
    failed: bool


@dataclass
class Collector:
    """Serves ``/v1/traces`` and ``/v1/metrics``."""

    spans: list[Span] = field(default_factory=list)
    metrics: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    received: bytes = b""

    @property
    def app(self) -> FastAPI:
        """The collector as an ASGI app."""
        app = FastAPI(openapi_url=None)

        @app.post("/v1/traces")
        async def traces(request: Request) -> Response:
            message = ExportTraceServiceRequest.FromString(await self._body(request))
            for resource in message.resource_spans:
                for scope in resource.scope_spans:
                    self.spans += [_span(each) for each in scope.spans]
            return Response(b"", media_type="application/x-protobuf")

        @app.post("/v1/metrics")
        async def metrics(request: Request) -> Response:
            message = ExportMetricsServiceRequest.FromString(await self._body(request))
            for resource in message.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        points = metric.sum.data_points or metric.histogram.data_points
                        kept = self.metrics.setdefault(metric.name, [])
                        kept += [_attributes(point.attributes) for point in points]
            return Response(b"", media_type="application/x-protobuf")

        return app

    async def _body(self, request: Request) -> bytes:
        body = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.received += body
        return body

    def tree(self, trace: str) -> dict[str, list[Span]]:
        """The spans of a trace by their parents' ids."""
        found: dict[str, list[Span]] = {}
        for span in self.spans:
            if span.trace == trace:
                found.setdefault(span.parent, []).append(span)
        return found


def _span(message: Any) -> Span:
    return Span(
        message.trace_id.hex(),
        message.span_id.hex(),
        message.parent_span_id.hex(),
        message.name,
        _attributes(message.attributes),
        message.status.code == 2,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
