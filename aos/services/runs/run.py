"""A run as its row: what was asked, and where it stands."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

_TIME_BITS = 48


class RunStatus(StrEnum):
    """Where a run stands, for people who list runs."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Run:
    """A run. Times are unix seconds, money is in millionths of a US dollar."""

    id: str
    tenant: str
    workflow: str
    definition: str
    status: RunStatus
    created_at: float
    created_by: str
    input: Mapping[str, Any]
    """As ``Values.keep`` gave it."""
    budget_micro_usd: int | None = None
    cancel: Mapping[str, Any] | None = None
    """Who asked the run to stop, and why: ``{"actor", "reason"}``."""
    ended_at: float | None = None
    reason: str | None = None
    output: Mapping[str, Any] | None = None
    """As ``Values.keep`` gave it."""
    cost_micro_usd: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    trace: str | None = None
    """The place in a trace (W3C ``traceparent``) below which all work on the run stands."""

    def to_json(self) -> dict[str, Any]:
        """Return the run as JSON."""
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Run:
        """Read what ``to_json`` gave."""
        return Run(**(dict(value) | {"status": RunStatus(value["status"])}))

    @property
    def ended(self) -> bool:
        """Whether the run is over."""
        return self.status not in (RunStatus.ACCEPTED, RunStatus.RUNNING)

    def changed(self, **changes: Any) -> Run:
        """Return the run with some fields changed."""
        return replace(self, **changes)


def new_run_id(at: float, randomness: bytes) -> str:
    """Return a UUID of version 7 (RFC 9562) as 32 hex digits; ``randomness`` is 10 bytes."""
    value = (int(at * 1000) & (2**_TIME_BITS - 1)) << 80 | int.from_bytes(randomness, "big")
    value = value & ~(0xF << 76) | (7 << 76)
    value = value & ~(0b11 << 62) | (0b10 << 62)
    return uuid.UUID(int=value).hex


def sort_key(run_id: str) -> str:
    """Return the row key of a run: newest first, as tables only list upwards."""
    time_digits = _TIME_BITS // 4
    inverted = 2**_TIME_BITS - 1 - int(run_id[:time_digits], 16)
    return f"{inverted:0{time_digits}x}{run_id[time_digits:]}"


def is_run_id(text: str) -> bool:
    """Whether ``text`` has the form of a run's id."""
    return len(text) == 32 and all(character in "0123456789abcdef" for character in text)
