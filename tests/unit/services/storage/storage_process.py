"""One of several processes that use a storage folder; it prints a line for each thing it was promised."""

from __future__ import annotations

import asyncio
import itertools
import resource
import sys
from pathlib import Path

from aos.kernel.errors import Unavailable
from aos.services.storage import AlreadyExists, Stale, Storage
from aos.services.storage.local import open_local


async def share(storage: Storage, name: str, rounds: int) -> None:
    """Count in one row, append to one log and race for keys, beside other processes."""
    size = won = 0
    for n in range(rounds):
        while True:
            row = await storage.rows.get("things", "p", "counter")
            assert row is not None
            try:
                await storage.rows.replace("things", row, {"n": row.value["n"] + 1})
                break
            except Stale:
                continue
        while True:
            try:
                size = await storage.logs.append("log", size, f"<{name}{n:04}>".encode())
                break
            except Stale as stale:
                size = stale.details["actual"]
        try:
            await storage.rows.insert("races", "p", f"k{n:04}", {"by": name})
            won += 1
        except AlreadyExists:
            pass
    print(won, flush=True)


async def stream(storage: Storage, name: str) -> None:
    """Write without end, several at a time; say each promise as soon as it is kept."""
    numbers = itertools.count()
    sizes: dict[int, int] = {}

    async def write(lane: int) -> None:
        while True:
            n = next(numbers)
            await storage.rows.insert("things", name, f"k{n}", {"n": n})
            print("row", f"k{n}", flush=True)
            await storage.rows.insert_many("pairs", name, {f"a{n}": {"n": n}, f"b{n}": {"n": n}})
            print("pair", n, flush=True)
            sizes[lane] = await storage.logs.append(f"{name}-{lane}", sizes.get(lane, 0), b"<%08d>" % n)
            print("log", f"{name}-{lane}", sizes[lane], flush=True)
            ref = await storage.blobs.put("values", name, b"%d" % n * 5000)
            print("blob", ref.sha256, ref.size, flush=True)

    await asyncio.gather(*map(write, range(4)))


async def fill(storage: Storage, megabytes: int) -> None:
    """Write until no file may grow any more; say what was promised, and what failed."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (megabytes << 20, megabytes << 20))
    failures: set[str] = set()
    size = 0
    for n in range(megabytes * 8):
        try:
            await storage.rows.insert("things", "p", f"k{n}", {"x": "y" * 200_000})
            print("row", f"k{n}", flush=True)
            size = await storage.logs.append("log", size, b"z" * 100_000)
            print("log", size, flush=True)
        except Unavailable as error:
            failures.add(f"rows {error.message}")
    try:
        await storage.blobs.put("values", "run-1", bytes((megabytes << 20) + 1))
    except Unavailable as error:
        failures.add(f"blobs {error.message}")
    for failure in sorted(failures):
        print("failed", failure, flush=True)


async def main() -> None:
    job, folder, *rest = sys.argv[1:]
    async with open_local(Path(folder)) as storage:
        if job == "share":
            await share(storage, rest[0], int(rest[1]))
        elif job == "stream":
            await stream(storage, rest[0])
        else:
            await fill(storage, int(rest[0]))


if __name__ == "__main__":
    asyncio.run(main())
