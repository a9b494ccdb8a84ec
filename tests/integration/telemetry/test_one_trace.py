"""A review, exported over OTLP: one tree from the HTTP request to the last tool call."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import uvicorn
from aos_process import PROPOSAL, launched, serving
from otlp_collector import Collector, Span
from tls_server import listening

from aos.sdk import AosClient
from aos.services.auth.keys import KeyStore
from aos.services.storage.local import open_local

AGENTS = {"cfo", "cto", "ceo"}
TOOLS = {"reserve_funds", "launch_project"}
METRICS = {
    "agent.decisions.count",
    "agent.decisions.latency",
    "storage.operations.count",
    "storage.operations.latency",
    "messages.published.count",
    "messages.consumed.count",
    "messages.latency",
    "runs.ended.count",
}


def below(tree: dict[str, list[Span]], span: Span) -> list[Span]:
    """Every span under this one."""
    return [each for child in tree.get(span.id, []) for each in (child, *below(tree, child))]


def strings_in(value: object) -> set[str]:
    """Every string of a JSON value that could only come from it."""
    if isinstance(value, dict):
        return {each for item in value.values() for each in strings_in(item)}
    if isinstance(value, list):
        return {each for item in value for each in strings_in(item)}
    return {value} if isinstance(value, str) and len(value) > 12 else set()


async def test_a_review_is_one_trace_without_secret_or_payload(tmp_path: Path) -> None:
    collector = Collector()
    data = tmp_path / "aos"
    async with open_local(data / "storage") as storage:
        key, _ = await KeyStore(storage.rows).create("tester", ["operator", "approver"], "default")
    with listening() as listener:
        server = uvicorn.Server(uvicorn.Config(collector.app, log_level="critical", lifespan="off"))
        task = asyncio.create_task(server.serve([listener]))
        settings = {
            "AOS_DATA": str(data),
            "AOS_STORAGE": "local",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{listener.getsockname()[1]}",
            "TASKHUB_NAME": "aos",
        }
        async with serving(settings, tmp_path / "data") as (url, _), AosClient(url, key) as client:
            run = await launched(client)
        server.should_exit = True
        await task

    started = [span for span in collector.spans if span.name == "start_run strategic-review"]
    assert [span.attributes["aos.run"] for span in started] == [run]
    tree = collector.tree(started[0].trace)
    (root,) = tree[""]
    assert root.name.startswith("POST /api/workflows/{name}/runs")
    assert started[0] in below(tree, root)
    spans = [root, *below(tree, root)]
    assert len(spans) == sum(map(len, tree.values())), "a span hangs in the air"

    messages = [span for span in below(tree, started[0]) if span.name == "process agent-steps"]
    sent = {span.id for span in tree[started[0].id] if span.name == "send agent-steps"}
    assert len(messages) == 5
    assert {span.parent for span in messages} == sent
    named = {span.name for span in spans}
    assert {f"invoke_agent {agent}" for agent in AGENTS} <= named
    assert {f"execute_tool {tool}" for tool in TOOLS} <= named
    assert "end_run strategic-review" in named
    for span in spans:
        if span.name.startswith("chat "):
            assert span.attributes["gen_ai.operation.name"] == "chat"
            assert span.attributes["gen_ai.usage.input_tokens"] > 0
        if span.name.startswith("execute_tool "):
            assert span.attributes["gen_ai.tool.name"] in span.name
    assert any(span.name.startswith("chat ") for span in spans)

    assert set(collector.metrics) >= METRICS
    assert {"status": "completed", "workflow": "strategic-review"} in collector.metrics["runs.ended.count"]
    secrets = {key, *strings_in(json.loads(PROPOSAL.read_text()))}
    assert len(secrets) > 5
    assert not [secret for secret in secrets if secret.encode() in collector.received]
    assert os.fsencode(str(tmp_path)) not in collector.received
