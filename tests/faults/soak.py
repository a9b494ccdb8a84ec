"""The soak of the local runtime: mixed work on a real host while everything around it fails.

`python soak.py` does so for SOAK_MINUTES (15) with the work and faults of SOAK_SEED (a random one, which
it prints first), and ends with an account and exit code 0, or the violations and 1. The same seed repeats
the same work and the same faults at the same times; how they interleave is the machine's, and differs.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from soak_judge import Judge, unfinished
from soak_ledger import Ledger
from soak_load import Bus, Load, NotAcknowledged
from soak_plan import CLOCK_S, Fault, Plan, make_plan
from soak_stack import HostEnded, SoakStack

_DRAIN_S = 180.0  # on a busy machine; a few seconds do when it works
_LATEST_S = CLOCK_S[1] + 60.0  # by then every lock has run out and every timer is due
_LOOK_S = 0.3
_SHOWN = 50  # violations; one that matters tends to bring many


@dataclass
class Account:
    """What was done, what went wrong by order, and what went wrong."""

    seed: int
    folder: Path
    seconds: float = 0.0
    work: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    messages: int = 0
    updates: int = 0
    again: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"soak with seed {self.seed}: {self.seconds:.0f} s, {sum(self.work.values())} works, "
            f"{sum(self.faults.values())} faults, {self.messages} messages, {self.updates} entity updates",
            "  works:  " + ", ".join(f"{count} {kind}" for kind, count in sorted(self.work.items())),
            "  faults: " + ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items())),
            "  done more than once: " + ", ".join(f"{count} {what}" for what, count in self.again.items()),
        ]
        if self.violations:
            lines += [
                f"  {len(self.violations)} VIOLATIONS; repeat with SOAK_SEED={self.seed}; see {self.folder}"
            ]
            lines += [f"  - {violation}" for violation in self.violations[:_SHOWN]]
        else:
            lines += ["  nothing lost, nothing doubled, nothing left over"]
        return "\n".join(lines)


async def soak(seed: int, seconds: float, folder: Path) -> Account:
    """Load for so many seconds, then let everything finish, stop the host, and judge."""
    plan, account = make_plan(seed, seconds), Account(seed, folder)
    began = time.monotonic()
    stack = SoakStack(folder)
    await stack.open()
    ledger, bus = Ledger(stack.ledger), Bus(stack.bus)
    load = Load(stack.url, bus, ledger)
    stack.start()
    try:
        await stack.serving()
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(plan.works))
            group.create_task(strike_all(stack, plan.faults, random.Random(f"victims {seed}")))
        stack.clear(_LATEST_S)
        account.violations += await drain(stack, plan)
        if code := await asyncio.to_thread(stack.stop):
            account.violations.append(f"the host ended with exit code {code}")
    except* (NotAcknowledged, HostEnded) as failures:
        account.violations += map(str, leaves(failures))
    finally:
        await stack.close()
        await bus.close()
        await load.close()
    judge = Judge(stack.data, plan, ledger)
    account.violations += judge.violations() + stack.faults_of_its_own()
    account.work, account.faults = dict(load.asked), dict(stack.faults)
    account.messages, account.updates, account.again = bus.sent, judge.updates, ledger.again()
    account.seconds = time.monotonic() - began
    return account


def leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    """The failures in a group of groups."""
    return [
        leaf
        for each in group.exceptions
        for leaf in (leaves(each) if isinstance(each, BaseExceptionGroup) else [each])
    ]


async def strike_all(stack: SoakStack, faults: list[Fault], chance: random.Random) -> None:
    """Each fault at its time from now, or later when the host is not up by then."""
    started = time.monotonic()
    for fault in faults:
        await asyncio.sleep(started + fault.at_s - time.monotonic())
        await stack.strike(fault, chance)


async def drain(stack: SoakStack, plan: Plan) -> list[str]:
    """Wait until all is finished; what is not, at last."""
    await stack.serving()
    deadline = time.monotonic() + _DRAIN_S
    while left := unfinished(stack.data, plan) + stack.messages_left():
        if time.monotonic() > deadline:
            return [f"not finished after {_DRAIN_S:.0f} s without faults: {each}" for each in left]
        await asyncio.sleep(_LOOK_S)
    return []


def main() -> int:
    seed = int(os.environ.get("SOAK_SEED") or secrets.randbelow(2**32))
    minutes = float(os.environ.get("SOAK_MINUTES") or 15)
    print(f"SOAK_SEED={seed} SOAK_MINUTES={minutes:g}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix=f"soak-{seed}-"))
    account = asyncio.run(soak(seed, minutes * 60, folder))
    print(account)
    if not account.violations:
        shutil.rmtree(folder)
    return 1 if account.violations else 0


if __name__ == "__main__":
    sys.exit(main())
