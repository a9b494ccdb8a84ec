import asyncio
import math
from datetime import date
from typing import Any

import pytest

from aos.kernel.errors import InvalidInput
from aos.sdk import Effect, Json, Memory, MemoryEntry, ToolContext, ToolFailed, VolatileMemory
from apps.leadership import treasury
from apps.leadership.projects import Launch, launch_project
from apps.leadership.treasury import release_funds, reserve_funds


class Interleaved:
    """Memory that lets every other task run between a read and the write that follows."""

    def __init__(self) -> None:
        self._memory = VolatileMemory()

    async def get(self, key: str) -> MemoryEntry | None:
        entry = await self._memory.get(key)
        await asyncio.sleep(0)
        return entry

    async def insert(self, key: str, value: Json) -> bool:
        return await self._memory.insert(key, value)

    async def replace(self, key: str, value: Json, version: str) -> bool:
        return await self._memory.replace(key, value, version)


@pytest.fixture
def memory() -> Memory:
    return Interleaved()


def call(memory: Memory, key: str) -> ToolContext:
    return ToolContext("acme", "run-1", "reserve", key, 0.0, memory)


async def available(memory: Memory) -> float:
    entry = await memory.get(treasury.LEDGER)
    ledger: Any = {} if entry is None else entry.value
    return treasury.LIMIT_USD - math.fsum(reservation["amount_usd"] for reservation in ledger.values())


async def test_a_reservation_takes_from_what_is_available(memory: Memory) -> None:
    reservation = await reserve_funds(1_000_000.0, "hall", call(memory, "a"))
    assert (reservation.reservation_id, reservation.reserved_usd) == ("a", 1_000_000.0)
    assert await available(memory) == treasury.LIMIT_USD - 1_000_000.0


async def test_a_repeated_reservation_is_the_same_one(memory: Memory) -> None:
    first = await reserve_funds(5.0, "hall", call(memory, "a"))
    await reserve_funds(7.0, "other", call(memory, "b"))
    assert await reserve_funds(5.0, "hall", call(memory, "a")) == first
    assert await available(memory) == treasury.LIMIT_USD - 12.0


async def test_a_key_that_comes_back_with_another_amount_is_refused(memory: Memory) -> None:
    await reserve_funds(5.0, "hall", call(memory, "a"))
    with pytest.raises(ToolFailed, match="already reserved another amount"):
        await reserve_funds(6.0, "hall", call(memory, "a"))
    assert await available(memory) == treasury.LIMIT_USD - 5.0


async def test_the_limit_is_not_overdrawn_and_a_refusal_changes_nothing(memory: Memory) -> None:
    await reserve_funds(treasury.LIMIT_USD - 1, "almost all", call(memory, "a"))
    with pytest.raises(ToolFailed, match=r"2\.00 USD for 'hall' is more than the 1\.00 USD left") as caught:
        await reserve_funds(2.0, "hall", call(memory, "b"))
    assert not caught.value.retryable
    await reserve_funds(1.0, "hall", call(memory, "c"))
    assert await available(memory) == 0


async def test_released_funds_can_be_reserved_again(memory: Memory) -> None:
    reservation = await reserve_funds(treasury.LIMIT_USD, "all", call(memory, "a"))
    released = await release_funds(reservation.reservation_id, call(memory, "undo"))
    assert released.released_usd == treasury.LIMIT_USD
    assert await available(memory) == treasury.LIMIT_USD


async def test_a_release_is_idempotent(memory: Memory) -> None:
    await reserve_funds(5.0, "hall", call(memory, "a"))
    await reserve_funds(9.0, "kept", call(memory, "b"))
    once = await release_funds("a", call(memory, "undo"))
    assert await release_funds("a", call(memory, "undo")) == once
    assert await available(memory) == treasury.LIMIT_USD - 9.0


async def test_a_late_repeat_does_not_reserve_what_was_released(memory: Memory) -> None:
    await reserve_funds(5.0, "hall", call(memory, "a"))
    await release_funds("a", call(memory, "undo"))
    await reserve_funds(5.0, "hall", call(memory, "a"))
    assert await available(memory) == treasury.LIMIT_USD


async def test_a_repeat_that_was_overtaken_by_the_release_does_not_reserve() -> None:
    memory = Interleaved()
    await reserve_funds(1.0, "other", call(memory, "b"))
    attempts = [reserve_funds(5.0, "hall", call(memory, "a")) for _ in range(20)]
    async with asyncio.TaskGroup() as group:
        repeats = [group.create_task(attempt) for attempt in attempts]
        await repeats[0]
        await release_funds("a", call(memory, "undo"))
    assert await available(memory) == treasury.LIMIT_USD - 1.0


async def test_a_release_interrupted_after_its_receipt_is_finished_by_its_repeat(memory: Memory) -> None:
    await reserve_funds(5.0, "hall", call(memory, "a"))
    await memory.insert("treasury-released-a", 5.0)  # all that the interrupted release wrote
    assert (await release_funds("a", call(memory, "undo"))).released_usd == 5.0
    assert await available(memory) == treasury.LIMIT_USD


async def test_releasing_what_was_never_reserved_fails(memory: Memory) -> None:
    with pytest.raises(ToolFailed, match="there is no reservation x"):
        await release_funds("x", call(memory, "undo"))


async def test_reservations_at_once_do_not_overdraw(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(treasury, "_LONGEST_PAUSE_S", 0.001)
    share = treasury.LIMIT_USD / 10
    outcomes = await asyncio.gather(
        *(reserve_funds(share, "share", call(memory, f"k{n}")) for n in range(25)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, ToolFailed)]
    assert len(refused) == 15
    assert not any(failure.retryable for failure in refused)


@pytest.mark.parametrize("amount", [0, -5, "5", None])
async def test_an_amount_that_is_none_is_refused(memory: Memory, amount: Any) -> None:
    with pytest.raises(InvalidInput, match="amount_usd"):
        await reserve_funds.call({"amount_usd": amount, "purpose": "hall"}, call(memory, "a"))


def launch(memory: Memory, **changed: Any) -> Any:
    proposal = {
        "project": "hall",
        "reservation_id": "a",
        "vendor": "Vendor Ltd",
        "vendor_confirmed": True,
        "launch_date": "2027-03-01",
        "earliest_start": "2027-03-01",
    }
    return launch_project.call(proposal | changed, call(memory, "launch-key"))


async def test_a_launch_is_recorded_once_under_its_key(memory: Memory) -> None:
    first = await launch(memory)
    assert first == Launch(project_id="launch-key", project="hall", launch_date=date(2027, 3, 1)).model_dump(
        mode="json"
    )
    assert await launch(memory) == first
    entry = await memory.get("project-launch-key")
    assert entry is not None
    assert isinstance(entry.value, dict)
    assert entry.value["reservation_id"] == "a"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"vendor_confirmed": False}, "Vendor Ltd has not confirmed"),
        ({"launch_date": "2027-02-28"}, "cannot be launched on 2027-02-28, before 2027-03-01"),
    ],
)
async def test_a_project_that_cannot_start_is_refused_and_not_recorded(
    memory: Memory, changed: dict[str, Any], says: str
) -> None:
    with pytest.raises(ToolFailed, match=says):
        await launch(memory, **changed)
    assert await memory.get("project-launch-key") is None


async def test_a_date_that_is_none_is_refused(memory: Memory) -> None:
    with pytest.raises(InvalidInput, match="launch_date"):
        await launch(memory, launch_date="2027-02-30")


@pytest.mark.parametrize("tool", [reserve_funds, release_funds, launch_project])
def test_what_changes_the_world_says_so(tool: Any) -> None:
    assert tool.definition.effect is Effect.IDEMPOTENT
