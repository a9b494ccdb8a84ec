"""A clock that tests move, and a durable engine that remembers what it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class MovedClock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Recorder:
    """Stands where the durable engine is: it remembers what it was asked."""

    started: list[str] = field(default_factory=list)
    events: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    async def start(self, run: str) -> None:
        self.started.append(run)

    async def raise_event(self, instance: str, name: str, data: Mapping[str, Any]) -> None:
        self.events.append((instance, name, dict(data)))
