"""A plain SDK worker and client against any task hub: `python -m bench.plain ADDRESS CALLS WAITS`.

CALLS and WAITS say how many of either the hub bears at once.

Reads requests `{"what": ..., "count": ...}` from standard input, one a line, and answers each with a
line: the list that `measure` returns.
"""

import asyncio
import json
import logging
import sys
from typing import cast

from durabletask.client import AsyncTaskHubGrpcClient
from durabletask.task import ActivityContext, Orchestrator
from durabletask.worker import ConcurrencyOptions, TaskHubGrpcWorker

from bench.load import measure
from bench.orchestrations import begun, chain, counter, fan, long, one

CONCURRENCY = 32  # as in app/host.json


def step(_: ActivityContext, value: int) -> int:
    return begun(value)


async def _answer(address: str, calls_at_once: int, waits_at_once: int) -> None:
    client = AsyncTaskHubGrpcClient(host_address=address, emit_trace_spans=False)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
        took = await measure(
            client,
            asked["what"],
            asked["count"],
            calls_at_once=calls_at_once,
            waits_at_once=waits_at_once,
        )
        print(json.dumps(took), flush=True)
    await client.close()


def main(address: str, calls_at_once: int, waits_at_once: int) -> None:
    logging.disable(logging.WARNING)
    limits = ConcurrencyOptions(
        maximum_concurrent_activity_work_items=CONCURRENCY,
        maximum_concurrent_orchestration_work_items=CONCURRENCY,
        maximum_thread_pool_workers=CONCURRENCY,
    )
    with TaskHubGrpcWorker(
        host_address=address, concurrency_options=limits, emit_trace_spans=False
    ) as worker:
        for orchestrator in (one, chain, long, fan):
            worker.add_orchestrator(cast("Orchestrator[int, int]", orchestrator))
        worker.add_activity(step)
        worker.add_entity(counter)
        worker.start()  # type: ignore[no-untyped-call]
        asyncio.run(_answer(address, calls_at_once, waits_at_once))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
