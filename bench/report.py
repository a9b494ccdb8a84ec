"""What was measured, as a table and as JSON."""

import json
import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

NOTES = (
    "In brackets: the ratio to the first system. Of several rounds it is the median, of the ratios too; a "
    "round visits every system in turn. Every figure of a busy machine is noisy: compare the ratios.",
    "A step is one activity round trip. Ours and DBOS's results are on disk (synced commits) before a step "
    "counts; the in-memory backend persists nothing and redelivers nothing: it has less to do.",
    "DBOS runs the steps in the calling process, without a server or a protocol, and has no entities.",
    "CPU and RSS are those of all processes of a system, the load's included; pages that they share count "
    "in each. Disk is what all files grew by, once the write-ahead log is in the database.",
    "Reviews use the mock model, which answers at once: the figures are the cost of AOS alone. Of fewer "
    "than a hundred latencies the p99 is the slowest.",
)


@dataclass(slots=True)
class System:
    """The measurements of a system: for each metric one value a round."""

    name: str
    rounds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, metric: str, value: float) -> None:
        """Add what a round measured."""
        self.rounds.setdefault(metric, []).append(value)

    def add_latencies(self, name: str, latencies_ms: Sequence[float]) -> None:
        """Add the median and the 99th percentile of a round's latencies."""
        self.add(f"{name} p50 ms", statistics.median(latencies_ms))
        self.add(f"{name} p99 ms", percentile(latencies_ms, 99))

    @property
    def medians(self) -> dict[str, float]:
        """The median round of each metric."""
        return {metric: statistics.median(values) for metric, values in self.rounds.items()}


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def machine() -> dict[str, str | int]:
    """Where this runs."""
    return {
        "cores": os.cpu_count() or 0,
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def table(systems: Sequence[System], baseline: System | None = None) -> str:
    """Markdown: a row for each metric, a column for each system, and its ratio to the baseline's."""
    rows = [["", *(system.name for system in systems)], ["---", *("--:" for _ in systems)]]
    for metric in dict.fromkeys(metric for system in systems for metric in system.rounds):
        rows.append([metric, *(_cell(system, metric, baseline) for system in systems)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(system: System, metric: str, baseline: System | None) -> str:
    if metric not in system.rounds:
        return "-"
    shown = _figure(system.medians[metric])
    if baseline is None or baseline is system or metric not in baseline.rounds or metric.endswith("%"):
        return shown
    pairs = zip(system.rounds[metric], baseline.rounds[metric], strict=True)
    return f"{shown} ({_figure(statistics.median(theirs / ours for theirs, ours in pairs))})"


def _figure(value: float) -> str:
    """Three digits that matter, and every digit before the point."""
    if not value:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 2)}f}"


def write(folder: Path, facts: Mapping[str, str | int], systems: Sequence[System]) -> Path:
    """Write everything as JSON; where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    document = {
        "at": now.isoformat(timespec="seconds"),
        "machine": facts,
        "notes": NOTES,
        "systems": [{**asdict(system), "medians": system.medians} for system in systems],
    }
    path = folder / f"{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path
