"""The load, driven through a durable client in the process that also runs the functions."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

from durabletask.client import AsyncTaskHubGrpcClient, OrchestrationStatus
from durabletask.entities import EntityInstanceId

from bench.orchestrations import CHAIN, ENTITY, began
from bench.places import early_and_late

_PATIENCE_S = 120
_SIGNALS = 2000
_ASKED_EVERY_S = 0.005


async def measure(
    client: AsyncTaskHubGrpcClient, what: str, count: int, *, calls_at_once: int = 64, waits_at_once: int = 64
) -> list[float]:
    """Run `count` orchestrations, started and waited for with so many calls at once.

    `one` and `chain`: one after the other; the milliseconds of each from start to done.
    `fan`: one orchestration of `count` activities at once; its milliseconds.
    `together`: five-step chains all at once; the persisted activity round trips per second.
    `long`: one orchestration of `count` steps; the milliseconds of a step near the tenth and near the last.
    `signals`: to `count` entities in turn, all at once; operations per second until all are done.
    """
    match what:
        case "together":
            return [await _together(client, count, calls_at_once, waits_at_once)]
        case "fan":
            return [await _latency_ms(client, what, count, count)]
        case "long":
            began.clear()
            await _latency_ms(client, what, count, count)
            return early_and_late(began)
        case "signals":
            return [await _signals(client, count, calls_at_once)]
        case _:
            expected = 1 if what == "one" else CHAIN
            return [await _latency_ms(client, what, 0, expected) for _ in range(count)]


async def _latency_ms(client: AsyncTaskHubGrpcClient, orchestration: str, value: int, expected: int) -> float:
    started = time.perf_counter()
    instance = await client.schedule_new_orchestration(orchestration, input=value)
    await _completed(client, instance, expected)
    return (time.perf_counter() - started) * 1000


async def _together(
    client: AsyncTaskHubGrpcClient, count: int, calls_at_once: int, waits_at_once: int
) -> float:
    started = time.perf_counter()
    instances = await _few_at_once(
        calls_at_once, count, lambda _: client.schedule_new_orchestration("chain", input=0)
    )
    await _few_at_once(waits_at_once, count, lambda number: _completed(client, instances[number], CHAIN))
    return count * CHAIN / (time.perf_counter() - started)


async def _signals(client: AsyncTaskHubGrpcClient, entities: int, calls_at_once: int) -> float:
    run = uuid4().hex
    ids = [EntityInstanceId(ENTITY, f"{run}-{number}") for number in range(entities)]
    count = max(_SIGNALS, entities)
    began.clear()
    started = time.perf_counter()
    await _few_at_once(
        calls_at_once, count, lambda number: client.signal_entity(ids[number % entities], "add", 1)
    )
    while len(began) < count:  # asking each entity would be the greater part of the work
        await asyncio.sleep(_ASKED_EVERY_S)
        _be_patient(started, f"{len(began)} of {count} signals were processed")
    await _adds_up(client, ids[-1], count // entities)
    took = time.perf_counter() - started
    for entity in ids:
        await _adds_up(client, entity, count // entities)
    return count / took


async def _adds_up(client: AsyncTaskHubGrpcClient, entity: EntityInstanceId, expected: int) -> None:
    asked = time.perf_counter()
    while (found := await client.get_entity(entity)) is None or found.get_typed_state(int) != expected:
        await asyncio.sleep(_ASKED_EVERY_S)
        _be_patient(asked, f"entity {entity} is not at {expected}: {found}")


def _be_patient(since: float, complaint: str) -> None:
    if time.perf_counter() - since > _PATIENCE_S:
        raise RuntimeError(f"{complaint} after {_PATIENCE_S} s")


async def _few_at_once[T](few: int, count: int, call: Callable[[int], Awaitable[T]]) -> list[T]:
    turn = asyncio.Semaphore(few)

    async def made(number: int) -> T:
        async with turn:
            return await call(number)

    return await asyncio.gather(*(made(number) for number in range(count)))


async def _completed(client: AsyncTaskHubGrpcClient, instance: str, result: int) -> None:
    state = await client.wait_for_orchestration_completion(instance, timeout=_PATIENCE_S)
    done = state is not None and state.runtime_status is OrchestrationStatus.COMPLETED
    if not done or state is None or state.serialized_output != str(result):
        raise RuntimeError(f"orchestration {instance} did not complete with {result}: {state}")
