"""DBOS on SQLite, with the load in its own process: `python -m bench.peer FOLDER`.

Answers as `bench.plain` does; `what` may also be `settings`: SQLite's `journal_mode` and `synchronous`.
"""

import asyncio
import json
import logging
import sqlite3
import sys
import time

import sqlalchemy
from dbos import DBOS, DBOSConfig

from bench.orchestrations import CHAIN, began, begun
from bench.places import early_and_late

_JOURNALS = ("delete", "truncate", "persist", "memory", "wal", "off")


@DBOS.step()
def step(value: int) -> int:
    return begun(value)


@DBOS.step()
async def asynchronous_step(value: int) -> int:
    return begun(value)


@DBOS.workflow()
def one(value: int) -> int:
    return step(value)


@DBOS.workflow()
def chain(value: int) -> int:
    for _ in range(CHAIN):
        value = step(value)
    return value


@DBOS.workflow()
def long(count: int) -> int:
    value = 0
    for _ in range(count):
        value = step(value)
    return value


@DBOS.workflow()
async def fan(width: int) -> int:
    return sum(await asyncio.gather(*(asynchronous_step(0) for _ in range(width))))


@sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
def _sync_every_commit(connection: sqlite3.Connection, _: object) -> None:
    if sqlite3.sqlite_version_info < (3, 42):  # its unixepoch() does not know 'subsec', which DBOS needs
        connection.create_function("unixepoch", 1, lambda _: time.time())
    _settings.setdefault("default", _pragmas(connection))
    connection.execute("PRAGMA synchronous=FULL")
    _settings["measured"] = _pragmas(connection)


def _pragmas(connection: sqlite3.Connection) -> list[float]:
    journal, synchronous = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    )
    return [_JOURNALS.index(journal), synchronous]


_settings: dict[str, list[float]] = {}


def measure(what: str, count: int) -> list[float]:
    """As `bench.load.measure`; `settings`: the codes of the two pragmas, by default and as measured."""
    match what:
        case "settings":
            return [*_settings["default"], *_settings["measured"]]
        case "together":
            started = time.perf_counter()
            handles = [DBOS.start_workflow(chain, 0) for _ in range(count)]
            for handle in handles:
                _ended(handle.get_result(), CHAIN)
            return [count * CHAIN / (time.perf_counter() - started)]
        case "fan":
            started = time.perf_counter()
            _ended(asyncio.run(_fan(count)), count)
            return [(time.perf_counter() - started) * 1000]
        case "long":
            began.clear()
            _ended(DBOS.start_workflow(long, count).get_result(), count)
            return early_and_late(began)
        case _:
            return [_latency_ms(what) for _ in range(count)]


async def _fan(width: int) -> int:
    handle = await DBOS.start_workflow_async(fan, width)
    return await handle.get_result()


def _ended(result: int, expected: int) -> None:
    if result != expected:
        raise RuntimeError(f"a workflow ended with {result} instead of {expected}")


def _latency_ms(what: str) -> float:
    started = time.perf_counter()
    _ended(
        DBOS.start_workflow(one if what == "one" else chain, 0).get_result(), 1 if what == "one" else CHAIN
    )
    return (time.perf_counter() - started) * 1000


def main(folder: str) -> None:
    logging.disable(logging.WARNING)
    config: DBOSConfig = {"name": "bench", "system_database_url": f"sqlite:///{folder}/dbos.sqlite"}
    DBOS(config=config)
    DBOS.launch()
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(measure(asked["what"], asked["count"])), flush=True)
    DBOS.destroy()


if __name__ == "__main__":
    main(sys.argv[1])
