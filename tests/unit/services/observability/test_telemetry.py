"""Where telemetry goes, from processes that start and end as workers do."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from key_vault import TOKEN
from managed_identity import CLIENT_ID, SECRET, ManagedIdentity
from otlp_collector import Collector
from tls_server import serving_tls

PROGRAM = """
from aos.services.environment.identity import open_credential
from aos.services.environment.settings import load_settings
from aos.services.observability.metrics import RUNS_ENDED
from aos.services.observability.telemetry import start_telemetry
from aos.services.observability.tracing import span
settings = load_settings()
start_telemetry(settings, open_credential(settings))
try:
    with span("outer", {"aos.run": "r1"}), span("inner", {}):
        raise ValueError("the secret 4711")
except ValueError:
    pass
RUNS_ENDED.add(1, {"status": "failed"})
"""


@dataclass
class Ingestion:
    """Azure Monitor's ingestion, the identity's endpoint and a collector, on one port."""

    url: str = ""
    certificate: str = ""
    collector: Collector = field(default_factory=Collector)
    identity: ManagedIdentity = field(default_factory=ManagedIdentity)
    items: list[dict[str, Any]] = field(default_factory=list)
    authorizations: set[str | None] = field(default_factory=set)

    @property
    def app(self) -> FastAPI:
        app = FastAPI(openapi_url=None)

        @app.post("/v2.1/track")
        async def track(request: Request) -> dict[str, Any]:
            body = await request.body()
            if request.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            items = json.loads(body)
            self.items += items
            self.authorizations.add(request.headers.get("authorization"))
            return {"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []}

        app.mount("/identity", self.identity.app)
        app.mount("/otlp", self.collector.app)
        return app


@pytest.fixture
async def ingestion(tmp_path: Path) -> AsyncIterator[Ingestion]:
    ingestion = Ingestion()
    async with serving_tls(ingestion.app, tmp_path) as server:
        ingestion.url, ingestion.certificate = server.url, str(server.certificate)
        yield ingestion


async def traced(**settings: str) -> str:
    """Run the program with these settings; what it wrote to standard error."""
    quiet = {"APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", PROGRAM),
        env=os.environ | quiet | settings,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    return complaint.decode()


async def test_by_default_it_goes_nowhere() -> None:
    assert await traced() == ""


async def test_it_goes_to_azure_monitor_by_identity(ingestion: Ingestion) -> None:
    instance = "00000000-1111-2222-3333-444444444444"
    complaint = await traced(
        APPLICATIONINSIGHTS_CONNECTION_STRING=f"InstrumentationKey={instance};IngestionEndpoint={ingestion.url}",
        AOS_IDENTITY_CLIENT_ID=CLIENT_ID,
        IDENTITY_ENDPOINT=f"{ingestion.url}/identity/msi/token",
        IDENTITY_HEADER=SECRET,
        REQUESTS_CA_BUNDLE=ingestion.certificate,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"{ingestion.url}/otlp",  # Azure Monitor comes first
    )
    spans = {
        item["data"]["baseData"]["name"] for item in ingestion.items if "name" in item["data"]["baseData"]
    }
    assert spans >= {"outer", "inner"}, complaint
    metrics = [
        metric["name"] for item in ingestion.items for metric in item["data"]["baseData"].get("metrics", [])
    ]
    assert "runs.ended.count" in metrics
    assert ingestion.authorizations == {f"Bearer {TOKEN}"}
    assert ingestion.identity.asked
    assert "4711" not in json.dumps(ingestion.items)
    assert not ingestion.collector.spans


async def test_without_azure_monitor_it_goes_to_a_collector(ingestion: Ingestion) -> None:
    await traced(
        REQUESTS_CA_BUNDLE=ingestion.certificate, OTEL_EXPORTER_OTLP_ENDPOINT=f"{ingestion.url}/otlp"
    )
    outer, inner = sorted(ingestion.collector.spans, key=lambda span: span.name, reverse=True)
    assert (outer.name, inner.name, inner.parent) == ("outer", "inner", outer.id)
    assert outer.failed
    assert inner.failed
    assert inner.attributes == {"error.type": "ValueError"}
    assert ingestion.collector.metrics["runs.ended.count"] == [{"status": "failed"}]
    assert b"4711" not in ingestion.collector.received


async def test_a_share_of_nothing_still_keeps_what_failed(ingestion: Ingestion) -> None:
    await traced(
        REQUESTS_CA_BUNDLE=ingestion.certificate,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"{ingestion.url}/otlp",
        AOS_TELEMETRY_SHARE="0",
    )
    assert len(ingestion.collector.spans) == 2


async def test_a_collector_that_is_away_is_complained_of_once_and_does_not_hold_up_the_end() -> None:
    """It is asked again and again meanwhile, until nobody waits for it any longer."""
    complaint = await traced(
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_EXPORTER_OTLP_TIMEOUT="600"
    )
    for signal in ("spans", "metrics"):
        assert complaint.count(f"encountered while exporting {signal} batch") == 1, complaint
    assert "Traceback" not in complaint


async def test_the_console_is_standard_error() -> None:
    assert '"name": "outer"' in await traced(AOS_TELEMETRY_CONSOLE="true")
