"""A review, exported over OTLP: one tree from the HTTP request to the last tool call."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from aos_process import ROOT, launched, serving
from model_endpoint import model_endpoint
from otlp_collector import Collector, Span
from tls_server import listening

from aos.sdk import AosClient
from aos.services.auth.keys import KeyStore
from aos.services.storage.local import open_local

PROPOSALS = ROOT / "apps/leadership/proposals"
AGENTS = {"cfo", "cto", "ceo"}
METRICS = {
    "agent.decisions.count",
    "agent.decisions.latency",
    "storage.operations.count",
    "storage.operations.latency",
    "messages.published.count",
    "messages.consumed.count",
    "messages.latency",
    "runs.ended.count",
    "sweeps.count",
}
OF_A_RUN = {"aos.run", "aos.step", "gen_ai.conversation.id", "url.path", "messaging.message.id"}
"""What has a value of its own for each run: the dimension of a trace, never of a metric."""


@asynccontextmanager
async def collecting(collector: Collector) -> AsyncIterator[str]:
    """Serve a collector; gives its URL."""
    with listening() as listener:
        server = uvicorn.Server(uvicorn.Config(collector.app, log_level="critical", lifespan="off"))
        task = asyncio.create_task(server.serve([listener]))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await task


async def reviewed(proposal: Path, tmp_path: Path, **settings: str) -> tuple[Collector, str, str]:
    """Take a proposal to its end; what was collected, the run's id and the caller's key."""
    collector, data = Collector(), tmp_path / "aos"
    async with open_local(data / "storage") as storage:
        key, _ = await KeyStore(storage.rows).create("tester", ["operator", "approver"], "default")
    async with collecting(collector) as url:
        settings |= {
            "AOS_DATA": str(data),
            "AOS_STORAGE": "local",
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "TASKHUB_NAME": "aos",
        }
        async with serving(settings, tmp_path / "data") as (served, _), AosClient(served, key) as client:
            run = await launched(client, proposal)
    return collector, run, key


def below(tree: dict[str, list[Span]], span: Span) -> list[Span]:
    """Every span under this one."""
    return [each for child in tree.get(span.id, []) for each in (child, *below(tree, child))]


def the_tree(collector: Collector, run: str) -> tuple[Span, list[Span]]:
    """The span that started the run, and all spans of its trace, which is one tree below the HTTP request."""
    (started,) = [span for span in collector.spans if span.name == "start_run strategic-review"]
    assert started.attributes["aos.run"] == run
    tree = collector.tree(started.trace)
    (root,) = tree[""]
    assert root.name.startswith("POST /api/workflows/{name}/runs")
    spans = [root, *below(tree, root)]
    assert started in spans
    assert len(spans) == sum(map(len, tree.values())), "a span hangs in the air"
    messages = [span for span in below(tree, started) if span.name == "process agent-steps"]
    sent = [span.id for span in tree[started.id] if span.name == "send agent-steps"]
    assert sorted(span.parent for span in messages) == sorted(sent)
    return started, spans


def strings_in(value: object) -> Iterator[str]:
    """Every string of a JSON value that could only come from it."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings_in(item)
    elif isinstance(value, str) and len(value) > 12:
        yield value


def check_nothing_was_told(collector: Collector, proposal: Path, *secrets: str) -> None:
    told = {*secrets, *strings_in(json.loads(proposal.read_text()))}
    assert len(told) > 5
    assert not [each for each in told if each.encode() in collector.received]
    for points in collector.metrics.values():
        assert not [point for point in points if OF_A_RUN & set(point)]


async def test_a_review_by_a_real_models_protocol_is_one_trace(tmp_path: Path) -> None:
    """The chat spans are the framework's own, which is asked in vain to write down what was said."""
    proposal = PROPOSALS / "warehouse-automation.json"
    with model_endpoint(approving=True) as url:
        collector, run, key = await reviewed(
            proposal,
            tmp_path,
            AOS_MODEL="gpt-4o",
            AOS_MODEL_BASE_URL=url,
            AOS_MODEL_API_KEY="sk-of-the-test-4711",
            ENABLE_SENSITIVE_DATA="true",
        )
    started, spans = the_tree(collector, run)
    by_name: dict[str, list[Span]] = {}
    for span in spans:
        by_name.setdefault(span.name, []).append(span)
    assert {f"invoke_agent {agent}" for agent in AGENTS} <= set(by_name)
    assert {"execute_tool reserve_funds", "execute_tool launch_project"} <= set(by_name)
    asking = {span.id for agent in AGENTS for span in by_name[f"invoke_agent {agent}"]}
    assert {span.parent for span in by_name["chat gpt-4o"]} == asking
    for span in by_name["chat gpt-4o"]:
        assert span.attributes["gen_ai.operation.name"] == "chat"
        assert span.attributes["gen_ai.provider.name"] == "openai"
        assert span.attributes["gen_ai.usage.input_tokens"] == 100
    assert [span.parent for span in by_name["end_run strategic-review"]] == [started.id]
    assert "gen_ai.client.token.usage" in collector.metrics
    check_nothing_was_told(collector, proposal, key, "sk-of-the-test-4711", "unclear", "rationale")


async def test_a_review_that_is_undone_is_one_trace_with_its_compensation(tmp_path: Path) -> None:
    proposal = PROPOSALS / "battery-storage.json"
    collector, run, key = await reviewed(proposal, tmp_path)
    _, spans = the_tree(collector, run)
    tools = {span.name: span for span in spans if span.name.startswith("execute_tool ")}
    assert tools.keys() >= {"execute_tool net_present_value", "execute_tool launch_project"}
    for name, span in tools.items():
        assert span.attributes["gen_ai.tool.name"] in name
        assert span.attributes["gen_ai.tool.type"] == "function"
    (refused,) = [span for span in spans if span.name == "process agent-steps" and span.failed]
    assert refused.id == tools["execute_tool launch_project"].parent
    assert tools["execute_tool release_funds"].attributes["aos.step"] == "reserve~undo"
    (ended,) = [span for span in spans if span.name == "end_run strategic-review"]
    assert ended.failed
    assert all(span.attributes["gen_ai.usage.input_tokens"] > 0 for span in spans if span.name == "chat mock")
    assert set(collector.metrics) >= METRICS
    assert {"status": "failed", "workflow": "strategic-review"} in collector.metrics["runs.ended.count"]
    check_nothing_was_told(collector, proposal, key)
    assert os.fsencode(str(tmp_path)) not in collector.received
