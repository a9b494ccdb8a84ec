"""What orchestrators pass to each other and to activities, as plain JSON.

A fact travels either as ``{"row": id}``, written by whoever it happened to, or as ``{"fact": {...}}``,
said by the orchestrator itself, whose history keeps it until it is in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from durabletask.task import RetryPolicy

type Json = dict[str, Any]

PATIENT = RetryPolicy(
    first_retry_interval=timedelta(seconds=1),
    max_number_of_attempts=12,
    backoff_coefficient=2,
    max_retry_interval=timedelta(minutes=2),
)
"""For what a step or a run can fail by: storage comes back, other faults stay."""

ENDURING = RetryPolicy(
    first_retry_interval=timedelta(seconds=1),
    max_number_of_attempts=5000,
    backoff_coefficient=2,
    max_retry_interval=timedelta(minutes=2),
)
"""For what no orchestration goes on without: a week, since giving up leaves a run that never ends."""


def rows(ids: list[str]) -> list[Json]:
    """Return facts that lie in rows."""
    return [{"row": fact_id} for fact_id in ids]


def said(fact_id: str, kind: str, at: str, subject: Mapping[str, Any], payload: Mapping[str, Any]) -> Json:
    """Return a fact that the orchestrator says."""
    fact = {
        "id": fact_id,
        "type": kind,
        "at": at,
        "actor": "aos",
        "subject": dict(subject),
        "payload": dict(payload),
    }
    return {"fact": fact}
