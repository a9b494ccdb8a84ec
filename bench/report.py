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
    "Medians over the rounds, of the ratios too; a round visits every system in turn. Every figure of "
    "a noisy machine is noisy: compare the ratios.",
    "A step is one activity round trip. Ours and DBOS's results are on disk (synced commits) before a step "
    "counts; the in-memory backend persists nothing and redelivers nothing: it has less to do.",
    "DBOS runs the steps in the calling process, without a server or a protocol; it has no entry for the "
    "fan-out, and fewer runs at once.",
    "CPU and RSS are those of all processes of a system, the load's included. Disk is the growth of all "
    "files: a write-ahead log that is reused hides some.",
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
    """A row for each metric, a column for each system, and its ratio to the baseline's."""
    rows = [["", *(system.name for system in systems)]]
    for metric in dict.fromkeys(metric for system in systems for metric in system.rounds):
        rows.append([metric, *(_cell(system, metric, baseline) for system in systems)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(_line(row, widths) for row in rows)


def _cell(system: System, metric: str, baseline: System | None) -> str:
    if metric not in system.rounds:
        return "-"
    shown = f"{system.medians[metric]:,.2f}"
    if baseline is None or metric not in baseline.rounds:
        return shown
    pairs = zip(system.rounds[metric], baseline.rounds[metric], strict=True)
    return f"{shown} ({statistics.median(ours / theirs for ours, theirs in pairs):.2f}x)"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.ljust(width) if column == 0 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "   ".join([first, *others]).rstrip()


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
