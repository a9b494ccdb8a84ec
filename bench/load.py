"""The load, driven through a durable client in the process that also runs the functions."""

import asyncio
import time

from durabletask.client import AsyncTaskHubGrpcClient, OrchestrationStatus

from bench.orchestrations import CHAIN

_PATIENCE_S = 60
_STARTING_AT_ONCE = 6  # the stock backend has ten threads, and one of them serves the worker's stream


async def measure(client: AsyncTaskHubGrpcClient, what: str, count: int) -> list[float]:
    """Run `count` orchestrations.

    `one` and `chain`: one after the other; the milliseconds of each from start to done.
    `fan`: one orchestration of `count` activities at once; its milliseconds.
    `together`: five-step chains all at once; the persisted activity round trips per second.
    """
    if what == "together":
        return [await _together(client, count)]
    if what == "fan":
        return [await _latency_ms(client, what, count, count)]
    expected = 1 if what == "one" else CHAIN
    return [await _latency_ms(client, what, 0, expected) for _ in range(count)]


async def _latency_ms(client: AsyncTaskHubGrpcClient, orchestration: str, value: int, expected: int) -> float:
    started = time.perf_counter()
    instance = await client.schedule_new_orchestration(orchestration, input=value)
    await _completed(client, instance, expected)
    return (time.perf_counter() - started) * 1000


async def _together(client: AsyncTaskHubGrpcClient, count: int) -> float:
    turn = asyncio.Semaphore(_STARTING_AT_ONCE)

    async def start() -> str:
        async with turn:
            return await client.schedule_new_orchestration("chain", input=0)

    started = time.perf_counter()
    instances = await asyncio.gather(*(start() for _ in range(count)))
    for instance in instances:  # one wait at a time: each wait holds one of the stock backend's threads
        await _completed(client, instance, CHAIN)
    return count * CHAIN / (time.perf_counter() - started)


async def _completed(client: AsyncTaskHubGrpcClient, instance: str, result: int) -> None:
    state = await client.wait_for_orchestration_completion(instance, timeout=_PATIENCE_S)
    done = state is not None and state.runtime_status is OrchestrationStatus.COMPLETED
    if not done or state is None or state.serialized_output != str(result):
        raise RuntimeError(f"orchestration {instance} did not complete with {result}: {state}")
