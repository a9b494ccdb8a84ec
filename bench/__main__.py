"""`python -m bench`: measure, print the tables, and keep the figures in var/bench."""

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.orchestrations import CHAIN
from bench.report import NOTES, System, machine, table, write
from bench.reviews import measure_launched, measure_rejected, measure_together, served
from bench.systems import ROOT, Measure, dbos, our_host, our_hub, stock_backend
from bench.usage import Usage, children

RESULTS = ROOT / "var" / "bench"
DBOS = "DBOS"
AOS = "AOS"
SYSTEMS: dict[str, Callable[[Path], AbstractContextManager[Measure]]] = {
    "host": our_host,
    "host-2": partial(our_host, workers=2),
    "hub": our_hub,
    DBOS: dbos,
    "in-memory": stock_backend,
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    rounds: int = 1
    warm_up: int = 200
    one: int = 100
    chain: int = 40
    together: int = 1000
    together_dbos: int = 200
    fans: tuple[int, ...] = (200, 1000)
    reviews: int = 10
    reviews_together: int = 20


QUICK = Sizes(
    rounds=1, warm_up=5, one=5, chain=3, together=20, together_dbos=20, fans=(20,), reviews=1,
    reviews_together=2,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Subject:
    """A running system and what was measured of it."""

    measure: Measure
    usage: Usage
    system: System


def measure_systems(names: Sequence[str], sizes: Sizes, folder: Path) -> list[System]:
    """Start the systems, then visit them in turn, round by round."""
    with contextlib.ExitStack() as running:
        subjects = [_start(running, name, folder / name) for name in names]
        for subject in subjects:
            subject.measure("together", sizes.warm_up)
            subject.system.add(f"RSS MB after {sizes.warm_up} runs", subject.usage.rss_mb)
        for _ in range(sizes.rounds):
            for subject in subjects:
                _measure_round(subject, sizes)
        for subject in subjects:
            if subject.system.name == DBOS:
                print(_settings(subject.measure("settings", 0)))
    return [subject.system for subject in subjects]


def _start(running: contextlib.ExitStack, name: str, folder: Path) -> Subject:
    folder.mkdir(parents=True)
    before, started, system = children(), time.monotonic(), System(name)
    measure = running.enter_context(SYSTEMS[name](folder))
    measure("one", 1)
    system.add("start to first result, s", time.monotonic() - started)
    return Subject(measure, Usage(folder, children() - before), system)


def _measure_round(subject: Subject, sizes: Sizes) -> None:
    system, measure, usage = subject.system, subject.measure, subject.usage
    system.add_latencies("one step, start to done,", measure("one", sizes.one))
    chains = measure("chain", sizes.chain)
    system.add_latencies("a step of a 5-step run,", [took / CHAIN for took in chains])
    count = sizes.together_dbos if system.name == DBOS else sizes.together
    cpu, disk = usage.cpu_s, usage.disk_bytes
    system.add("steps / s, many runs at once", measure("together", count)[0])
    system.add("CPU ms / step", (usage.cpu_s - cpu) * 1000 / (count * CHAIN))
    system.add("RSS MB after many runs", usage.rss_mb)
    if system.name != "in-memory":
        system.add("disk bytes / step", (usage.disk_bytes - disk) / (count * CHAIN))
    if system.name != DBOS:
        for width in sizes.fans:
            system.add(f"fan-out of {width}, ms", measure("fan", width)[0])


def _settings(codes: list[float]) -> str:
    journals = ("delete", "truncate", "persist", "memory", "wal", "off")
    levels = ("OFF", "NORMAL", "FULL", "EXTRA")
    default, measured = (f"{journals[int(j)]}/{levels[int(s)]}" for j, s in (codes[:2], codes[2:]))
    return f"DBOS's journal_mode/synchronous: {default} by default, measured with {measured}."


def measure_reviews(sizes: Sizes, folder: Path) -> System:
    """Take `strategic-review` through the real app, over its HTTP API."""
    system = System(AOS)
    with served(folder) as reviews:
        measure_rejected(reviews, 1)
        for _ in range(sizes.rounds):
            system.add_latencies("review, rejected by the CEO,", measure_rejected(reviews, sizes.reviews))
            system.add_latencies("review, approved and launched,", measure_launched(reviews, sizes.reviews))
            system.add(
                f"{sizes.reviews_together} reviews at once, runs / s",
                measure_together(reviews, sizes.reviews_together),
            )
    return system


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few of each: does the bench itself work?")
    parser.add_argument("--only", nargs="+", choices=[*SYSTEMS, AOS], default=[*SYSTEMS, AOS])
    options = parser.parse_args()
    sizes = QUICK if options.quick else Sizes()
    names = [name for name in SYSTEMS if name in options.only]
    facts, started, systems, reviews = machine(), time.monotonic(), [], []
    print("  ".join(f"{name}: {value}" for name, value in facts.items()), end="\n\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="aos-bench-") as folder:
        if names:
            systems = measure_systems(names, sizes, Path(folder))
            print(f"In brackets: the ratio to {names[0]}.  Runs at once: {sizes.together}, ", end="")
            print(f"with DBOS {sizes.together_dbos}.\n{table(systems, systems[0])}", end="\n\n", flush=True)
        if AOS in options.only:
            reviews = [measure_reviews(sizes, Path(folder) / "reviews")]
            print(table(reviews), end="\n\n")
    print("\n".join(f"- {note}" for note in NOTES))
    path = write(RESULTS, facts, [*systems, *reviews])
    print(f"\n{time.monotonic() - started:.0f} s; every round is in {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
