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
IN_MEMORY = "in-memory"
TWO_WORKERS = "host-2"
AOS = "AOS"
SYSTEMS: dict[str, Callable[[Path], AbstractContextManager[Measure]]] = {
    "host": our_host,
    TWO_WORKERS: partial(our_host, workers=2),
    "hub": our_hub,
    DBOS: dbos,
    IN_MEMORY: stock_backend,
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    batch: int = 200
    batches: int = 5
    one: int = 100
    chain: int = 100
    together: int = 1000
    fans: tuple[int, ...] = (200, 1000)
    long: int = 1000
    entities: tuple[int, ...] = (1, 1000)
    reviews: int = 10
    reviews_together: int = 20


QUICK = Sizes(
    batch=5, batches=2, one=5, chain=3, together=20, fans=(20,), long=30, entities=(1, 10), reviews=1,
    reviews_together=2,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Subject:
    """A running system and what was measured of it."""

    measure: Measure
    usage: Usage
    system: System


def measure_systems(names: Sequence[str], sizes: Sizes, rounds: int, folder: Path) -> list[System]:
    """Start the systems, then visit them in turn, round by round."""
    with contextlib.ExitStack() as running:
        subjects = [_start(running, name, folder / name) for name in names]
        for subject in subjects:
            _measure_memory(subject, sizes)
        for _ in range(rounds):
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


def _measure_memory(subject: Subject, sizes: Sizes) -> None:
    """Runs of five steps, a batch at once: what grows with their number shows."""
    system = subject.system
    rss = []
    for _ in range(sizes.batches):
        subject.measure("together", sizes.batch)
        rss.append(subject.usage.rss_mb)
    total = sizes.batch * sizes.batches
    system.add(f"RSS after {sizes.batch:,} runs, MB", rss[0])
    system.add(f"RSS after {total:,} runs, MB", rss[-1])
    system.add("growth of RSS between them, %", (rss[-1] / rss[0] - 1) * 100)


def _measure_round(subject: Subject, sizes: Sizes) -> None:
    system, measure, usage = subject.system, subject.measure, subject.usage
    system.add_latencies("one step, start to done,", measure("one", sizes.one))
    chains = measure("chain", sizes.chain)
    system.add_latencies(f"a step of a {CHAIN}-step run,", [took / CHAIN for took in chains])
    steps = sizes.together * CHAIN
    disk, cpu = usage.settled_disk_bytes(), usage.cpu_s
    system.add(f"steps/s, {sizes.together:,} runs of {CHAIN} at once", measure("together", sizes.together)[0])
    system.add("CPU ms a step", (usage.cpu_s - cpu) * 1000 / steps)
    system.add("RSS after them, MB", usage.rss_mb)
    if system.name != IN_MEMORY:
        system.add("bytes on disk a step", (usage.settled_disk_bytes() - disk) / steps)
    for width in sizes.fans:
        system.add(f"fan-out of {width:,}, ms", measure("fan", width)[0])
    if system.name == TWO_WORKERS:
        return  # what follows is observed in the process of the load, and half of it runs in the other
    early, late = measure("long", sizes.long)
    system.add("step 10 of a long run, ms", early)
    system.add(f"step {sizes.long:,} of it, ms", late)
    if system.name != DBOS:
        for count in sizes.entities:
            where = "one entity" if count == 1 else f"{count:,} entities"
            system.add(f"signals/s to {where}", measure("signals", count)[0])


def _settings(codes: list[float]) -> str:
    journals = ("delete", "truncate", "persist", "memory", "wal", "off")
    levels = ("OFF", "NORMAL", "FULL", "EXTRA")
    default, measured = (f"{journals[int(j)]}/{levels[int(s)]}" for j, s in (codes[:2], codes[2:]))
    return f"DBOS's journal_mode/synchronous: {default} by default, measured with {measured}."


def measure_reviews(sizes: Sizes, rounds: int, folder: Path) -> System:
    """Take `strategic-review` through the real app, over its HTTP API."""
    system = System(AOS)
    with served(folder) as reviews:
        measure_rejected(reviews, 1)
        for _ in range(rounds):
            system.add_latencies("review, rejected by the CEO,", measure_rejected(reviews, sizes.reviews))
            system.add_latencies("review, approved and launched,", measure_launched(reviews, sizes.reviews))
            system.add(
                f"{sizes.reviews_together} reviews at once, runs/s",
                measure_together(reviews, sizes.reviews_together),
            )
    return system


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few of each: does the bench itself work?")
    parser.add_argument("--only", nargs="+", choices=[*SYSTEMS, AOS], default=[*SYSTEMS, AOS])
    parser.add_argument("--rounds", type=int, default=1, help="how often each system is visited (1)")
    options = parser.parse_args()
    sizes = QUICK if options.quick else Sizes()
    names = [name for name in SYSTEMS if name in options.only]
    facts, started, systems, reviews = machine(), time.monotonic(), [], []
    print("  ".join(f"{name}: {value}" for name, value in facts.items()), end="\n\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="aos-bench-") as folder:
        if names:
            systems = measure_systems(names, sizes, options.rounds, Path(folder))
            print(table(systems, systems[0]), end="\n\n", flush=True)
        if AOS in options.only:
            reviews = [measure_reviews(sizes, options.rounds, Path(folder) / "reviews")]
            print(table(reviews), end="\n\n")
    print("\n".join(f"- {note}" for note in NOTES))
    path = write(RESULTS, facts, [*systems, *reviews])
    print(f"\n{time.monotonic() - started:.0f} s; every round is in {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
