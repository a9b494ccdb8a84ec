"""Every table and container that AOS keeps its state in, declared once.

In Azure the templates make them beforehand (``infra/storage.json`` names the same ones; a test compares
the two), so that a deployment shows what it holds; elsewhere each is made by its first use.
"""

from __future__ import annotations

API_KEYS = "apikeys"
APPROVALS = "approvals"
CLOSINGS = "closings"
DEFINITIONS = "definitions"
DOORBELLS = "doorbells"
EFFECTS = "effects"
FACTS = "facts"
JOURNAL = "journal"
LOG_HEADS = "logheads"
MEMORY = "memory"
PREPARED = "prepared"
REQUESTS = "requests"
RESULTS = "results"
RUNS = "runs"

TABLES = frozenset(
    {
        API_KEYS,
        APPROVALS,
        CLOSINGS,
        DEFINITIONS,
        DOORBELLS,
        EFFECTS,
        FACTS,
        JOURNAL,
        LOG_HEADS,
        MEMORY,
        PREPARED,
        REQUESTS,
        RESULTS,
        RUNS,
    }
)

LOGS = "0-logs"
"""Append blobs; a container of values cannot begin with a digit, so none is ever taken for this one."""
VALUES = "values"

CONTAINERS = frozenset({LOGS, VALUES})

CHECKPOINTS = "checkpoints"
"""Signed checkpoints that nobody can change or delete before their retention is over."""

IMMUTABLE_CONTAINERS = frozenset({CHECKPOINTS})
"""Containers of an account of its own: one with such a container cannot be failed over to another region."""
