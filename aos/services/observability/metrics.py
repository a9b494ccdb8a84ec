"""The metrics of AOS. Times are in seconds."""

from __future__ import annotations

from opentelemetry import metrics

_meter = metrics.get_meter("aos")

DECISIONS = _meter.create_counter("agent.decisions.count", "{decision}", "Steps that agents ended")
DECISION_LATENCY = _meter.create_histogram(
    "agent.decisions.latency", "s", "How long an agent worked on a step, its model and tools included"
)
AGENT_ERRORS = _meter.create_counter("agent.errors.count", "{error}", "Steps in which agents failed")
STORAGE_OPERATIONS = _meter.create_counter("storage.operations.count", "{operation}", "Storage operations")
STORAGE_LATENCY = _meter.create_histogram("storage.operations.latency", "s", "How long storage took")
STORAGE_ERRORS = _meter.create_counter(
    "storage.errors.count", "{error}", "Storage operations that storage did not carry out"
)
PUBLISHED = _meter.create_counter("messages.published.count", "{message}", "Messages sent to queues")
CONSUMED = _meter.create_counter("messages.consumed.count", "{message}", "Messages taken from queues")
MESSAGE_LATENCY = _meter.create_histogram(
    "messages.latency", "s", "From a message's place in its queue to the function that takes it"
)
SWEEPS = _meter.create_counter("sweeps.count", "{sweep}", "Looks for doorbells that nobody answered")
RUNG_AGAIN = _meter.create_counter(
    "doorbells.rung_again.count", "{doorbell}", "Doorbells that nobody had answered in time"
)
RUNS_ENDED = _meter.create_counter("runs.ended.count", "{run}", "Runs that ended, by status")
