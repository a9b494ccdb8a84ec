"""`python -m bench`: measure, print the tables, and keep the figures in bench/results."""

import argparse
import contextlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.report import NOTES, System, machine, table, write
from bench.reviews import measure_launched, measure_rejected, measure_together, served
from bench.systems import Measure, our_host, our_hub, stock_backend

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    rounds: int = 5
    warm_up: int = 30
    one: int = 100
    chain: int = 50
    together: int = 120
    reviews: int = 10
    reviews_together: int = 20


SMALL = Sizes(rounds=1, warm_up=1, one=3, chain=2, together=3, reviews=1, reviews_together=2)


def measure_systems(sizes: Sizes, folder: Path) -> list[System]:
    """Visit our host, our hub and the stock backend in turn, round by round."""
    with contextlib.ExitStack() as running:
        measures: dict[str, Measure] = {
            "our host": running.enter_context(our_host(folder / "host")),
            "our hub, plain worker": running.enter_context(our_hub(folder)),
            "stock in-memory, plain worker": running.enter_context(stock_backend()),
        }
        systems = {name: System(name) for name in measures}
        for measure in measures.values():
            measure("chain", sizes.warm_up)
            measure("together", sizes.warm_up)
        for _ in range(sizes.rounds):
            for name, measure in measures.items():
                _measure_round(systems[name], measure, sizes)
    return list(systems.values())


def _measure_round(system: System, measure: Measure, sizes: Sizes) -> None:
    system.add_latencies("one activity, start to done,", measure("one", sizes.one))
    system.add_latencies("five-step chain, start to done,", measure("chain", sizes.chain))
    system.add("activity round trips / s", measure("together", sizes.together)[0])


def measure_reviews(sizes: Sizes, folder: Path) -> System:
    """Take `strategic-review` through the real app, over its HTTP API."""
    system = System("AOS")
    with served(folder) as reviews:
        measure_rejected(reviews, 1 + sizes.warm_up // 10)
        for _ in range(min(sizes.rounds, 3)):
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
    parser.add_argument("--small", action="store_true", help="a few of each: does the bench itself work?")
    sizes = SMALL if parser.parse_args().small else Sizes()
    facts, started = machine(), time.monotonic()
    print("  ".join(f"{name}: {value}" for name, value in facts.items()), end="\n\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="aos-bench-") as folder:
        systems = measure_systems(sizes, Path(folder))
        print("In brackets: the ratio to the stock backend.")
        print(table(systems, baseline=systems[-1]), end="\n\n", flush=True)
        reviews = measure_reviews(sizes, Path(folder) / "reviews")
    print(table([reviews]), end="\n\n")
    print("\n".join(f"- {note}" for note in NOTES))
    path = write(RESULTS, facts, [*systems, reviews])
    print(
        f"\n{time.monotonic() - started:.0f} s; every round is in {path.relative_to(RESULTS.parent.parent)}"
    )


if __name__ == "__main__":
    main()
