"""What a soak does and when, from its seed alone: the work asked for, and the faults."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ACCOUNTS = ("ada", "ben", "cy")
CLOCK_S = (
    -10.0,
    90.0,
)  # how far off the clock jumps; locks of 10 s and 20 s run out, no duplicate is forgotten
_WORKS_A_SECOND = 3.0
_FAULT_EVERY_S = (2.0, 6.0)
_OPERATIONS_A_COUNTER = 30  # works that share a counter, whose state holds the id of every operation


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of work: what kind, asked for when, with which particulars."""

    at_s: float
    id: str
    kind: str
    given: Any


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong when, for how long, and how badly."""

    at_s: float
    kind: str
    seconds: float = 0.0
    degree: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    works: list[Work]
    faults: list[Fault]

    def of(self, *kinds: str) -> list[Work]:
        """The works of these kinds."""
        return [work for work in self.works if work.kind in kinds]


def transfer_of(chance: random.Random, _: int) -> dict[str, Any]:
    source, target = chance.sample(ACCOUNTS, 2)
    return {"source": source, "target": target, "amount": chance.randint(1, 100)}


def deposit_of(chance: random.Random, _: int) -> dict[str, Any]:
    return {"account": chance.choice(ACCOUNTS), "amount": chance.randint(1, 100)}


def renewing_of(chance: random.Random, number: int) -> dict[str, Any]:
    key = counter_of(number)
    return {"key": key, "generations": chance.randint(3, 6), "generation": 0, "after": None}


def job_of(chance: random.Random, number: int) -> dict[str, Any]:
    wanted: dict[str, Any] = {"fails_first": chance.random() < 0.3}
    if chance.random() < 0.5:
        return wanted | {"do": "start", "name": "chain", "input": chance.randint(2, 4)}
    return wanted | {"do": "signal", "key": counter_of(number)}


def tickets_of(chance: random.Random, _: int) -> list[bool]:
    """For each message whether its first delivery fails."""
    return [chance.random() < 0.2 for _ in range(chance.randint(3, 6))]


def orders_of(chance: random.Random, _: int) -> list[bool]:
    """For each message whether its consumer dead-letters it."""
    return [chance.random() < 0.2 for _ in range(chance.randint(3, 6))]


def sent_job_of(chance: random.Random, number: int) -> dict[str, Any]:
    return {
        "job": job_of(chance, number),
        "topic": chance.random() < 0.25,
        "later_s": chance.choice((0.0, 0.0, 3.0)),
    }


KINDS: dict[str, tuple[int, Callable[[random.Random, int], Any]]] = {
    "chain": (3, lambda chance, _: chance.randint(2, 6)),
    "fan": (2, lambda chance, _: chance.choice((chance.randint(2, 12), 60))),
    "family": (1, lambda chance, _: chance.randint(2, 3)),
    "outsourced": (3, lambda chance, _: chance.randint(2, 4)),
    "counts": (2, lambda chance, number: {"key": counter_of(number), "times": chance.randint(2, 5)}),
    "transfer": (4, transfer_of),
    "deposit": (4, deposit_of),
    "patience": (2, lambda chance, _: {"seconds": chance.uniform(0.5, 20), "hurry": chance.random() < 0.5}),
    "collector": (2, lambda chance, _: chance.randint(3, 6)),
    "renewing": (2, renewing_of),
    "signal": (3, lambda _, number: counter_of(number)),
    "job": (5, sent_job_of),
    "poison": (1, lambda *_: None),
    "orders": (2, orders_of),
    "tickets": (2, tickets_of),
}
"""How often each kind comes among the works, and its particulars."""

FAULTS: dict[str, Callable[[random.Random], dict[str, float]]] = {
    "kill host": lambda chance: {
        "seconds": chance.choice((0.0, chance.uniform(0.3, 2))),
        "degree": chance.uniform(0.1, 0.6),
    },
    "kill worker": lambda chance: {
        "seconds": chance.choice((0.0, chance.uniform(0.1, 1.5))),
        "degree": chance.uniform(0.1, 0.6),
    },
    "kill consumer": lambda _: {},
    "kill outsider": lambda chance: {"degree": chance.uniform(0.1, 0.6)},
    "drop connections": lambda chance: {"degree": chance.uniform(0.1, 0.6)},
    "late answers": lambda chance: {"seconds": chance.uniform(2, 4), "degree": chance.uniform(0.1, 0.6)},
    "server busy": lambda chance: {"seconds": chance.uniform(2, 4), "degree": chance.uniform(0.2, 0.6)},
    "slow writes": lambda chance: {"seconds": chance.uniform(2, 4), "degree": chance.uniform(0.05, 0.4)},
    "failed writes": lambda chance: {"seconds": chance.uniform(2, 4), "degree": chance.uniform(0.02, 0.1)},
    "clock forward": lambda chance: {"degree": chance.uniform(CLOCK_S[1] / 2, CLOCK_S[1])},
    "clock back": lambda chance: {"degree": chance.uniform(CLOCK_S[0], CLOCK_S[1] / 2)},
}
"""The faults: each comes once in every round, or twice, the rounds in random order. What is killed goes while
writes are slow to that degree, and what is dropped while answers are late, so that much is under way. A host
or a worker may be killed again so many seconds later, while the new one starts or takes up what was left."""
_TWICE = ("kill host", "kill worker")
# After these the hub or the broker takes up all that is on disk. They end before the others do: they would
# hide what is lost from memory alone.
_HEALING = ("kill host", "failed writes")
_HEALED_UNTIL = 0.7  # of the time


def counter_of(number: int) -> str:
    return f"c{number // _OPERATIONS_A_COUNTER}"


def make_plan(seed: int, seconds: float) -> Plan:
    """The works and faults of so many seconds, in the order of their times."""
    chance = random.Random(f"soak {seed}")  # a text: the same in every process
    names = list(KINDS)
    kinds = chance.choices(names, [KINDS[name][0] for name in names], k=round(seconds * _WORKS_A_SECOND))
    times = sorted(chance.uniform(0, seconds) for _ in kinds)
    works = [
        Work(at_s, f"{kind}-{number}", kind, KINDS[kind][1](chance, number))
        for number, (at_s, kind) in enumerate(zip(times, kinds, strict=True))
    ]
    return Plan(works, list(_faults(chance, seconds)))


def _faults(chance: random.Random, seconds: float) -> list[Fault]:
    faults, at_s = [], chance.uniform(*_FAULT_EVERY_S)
    kinds = [*FAULTS, *_TWICE]
    while at_s < seconds:
        for kind in chance.sample(kinds, len(kinds)):
            if at_s < seconds and not (kind in _HEALING and at_s > seconds * _HEALED_UNTIL):
                faults.append(Fault(at_s, kind, **FAULTS[kind](chance)))
            at_s += chance.uniform(*_FAULT_EVERY_S)
    return faults
