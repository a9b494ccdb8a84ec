"""Where traces and metrics go: Azure Monitor, an OTLP collector, or standard error."""

from __future__ import annotations

import atexit
import os
import platform
import sys
import threading
import time

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    MetricExporter,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from aos import __version__
from aos.services.environment.identity import Credential
from aos.services.environment.settings import Settings
from aos.services.observability.logs import quiet_exporters
from aos.services.observability.sampling import KeepErrors, WithoutQueries

SERVICE = "aos"
END_S = 3.0
"""How long a process that ends waits for what is still to be sent."""


def start_export(settings: Settings, credential: Credential | None) -> None:
    """Give OpenTelemetry its providers, which send until the process ends."""
    spans, measurements = _exporters(settings, credential)
    resource = Resource.create(
        {
            "service.name": SERVICE,
            "service.version": __version__,
            # Two processes must never count as one.
            "service.instance.id": f"{platform.node()}.{os.getpid()}",
            "aos.tenant": settings.tenant,
        }
    )
    # Every span is made, also those of a caller that is not sampled: that one failed is seen at its end.
    tracing = TracerProvider(resource=resource, sampler=ALWAYS_ON, shutdown_on_exit=False)
    tracing.add_span_processor(WithoutQueries())
    tracing.add_span_processor(KeepErrors(BatchSpanProcessor(spans), settings.telemetry_share))
    reader = PeriodicExportingMetricReader(measurements)
    metering = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    trace.set_tracer_provider(tracing)
    metrics.set_meter_provider(metering)
    quiet_exporters()
    atexit.register(_end, tracing, metering)


def _end(tracing: TracerProvider, metering: MeterProvider) -> None:
    """Send what waits, but let nobody who does not answer hold up the end of the process."""
    ending = [threading.Thread(target=each.shutdown, daemon=True) for each in (tracing, metering)]
    for thread in ending:
        thread.start()
    until = time.monotonic() + END_S
    for thread in ending:
        thread.join(max(0.0, until - time.monotonic()))


def _exporters(settings: Settings, credential: Credential | None) -> tuple[SpanExporter, MetricExporter]:
    if settings.telemetry_connection is not None:
        identity = None if settings.identity_client_id is None else credential
        return _azure_monitor(settings.telemetry_connection, identity)
    if settings.otlp_endpoint is not None:
        return _otlp()
    return ConsoleSpanExporter(out=sys.stderr), ConsoleMetricExporter(out=sys.stderr)


def _azure_monitor(connection: str, identity: Credential | None) -> tuple[SpanExporter, MetricExporter]:
    """By identity where there is one: the exporters run in threads, and take a credential that blocks."""
    from azure.monitor.opentelemetry.exporter import (  # noqa: PLC0415 - a second, in Azure alone
        AzureMonitorMetricExporter,
        AzureMonitorTraceExporter,
    )

    credential = None if identity is None else identity.blocking
    return (
        AzureMonitorTraceExporter(connection_string=connection, credential=credential),
        AzureMonitorMetricExporter(connection_string=connection, credential=credential),
    )


def _otlp() -> tuple[SpanExporter, MetricExporter]:
    """By OpenTelemetry's own settings: endpoint, headers, certificate, timeout."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415 - where it is used
        OTLPMetricExporter,
    )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    return OTLPSpanExporter(), OTLPMetricExporter()
