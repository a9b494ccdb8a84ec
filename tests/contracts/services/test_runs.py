"""Runs on either backend: accepted once, listed newest first, changed by one writer at a time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from service_world import MovedClock, Recorder

from aos.kernel.errors import Conflict, InvalidDefinition, InvalidInput, NotFound
from aos.services.definitions.definitions import Definitions
from aos.services.runs.doorbells import Doorbells
from aos.services.runs.run import RunStatus, is_run_id, new_run_id, sort_key
from aos.services.runs.runs import Request, Runs
from aos.services.runs.values import INLINE_BYTES, Values
from aos.services.storage import Storage

REQUEST = Request("pay", {"amount": 3}, 1_000_000, "user:ann", "key-1")


async def test_a_run_is_found_again_as_it_was_accepted(runs: Runs, definitions: Definitions) -> None:
    run, bell = await runs.accept(REQUEST, definitions.current("pay"))
    assert bell is not None
    assert await runs.get(run.id) == run
    assert (run.status, run.created_by, run.budget_micro_usd) == (RunStatus.ACCEPTED, "user:ann", 1_000_000)


async def test_one_key_at_the_same_moment_is_one_run(runs: Runs, definitions: Definitions) -> None:
    definition = definitions.current("pay")
    accepted = await asyncio.gather(*(runs.accept(REQUEST, definition) for _ in range(20)))
    assert len({run.id for run, _ in accepted}) == 1
    assert sum(bell is not None for _, bell in accepted) == 1


async def test_the_same_key_for_another_request_is_refused_and_changes_nothing(
    runs: Runs, definitions: Definitions
) -> None:
    run, _ = await runs.accept(REQUEST, definitions.current("pay"))
    with pytest.raises(Conflict, match="another request"):
        await runs.accept(replace(REQUEST, input={"amount": 4}), definitions.current("pay"))
    listed, _ = await runs.list(limit=10)
    assert [one.id for one in listed] == [run.id]


async def test_an_input_that_does_not_fit_is_refused_with_its_place(
    runs: Runs, definitions: Definitions
) -> None:
    with pytest.raises(InvalidInput, match="/amount") as caught:
        await runs.accept(replace(REQUEST, input={"amount": "much"}), definitions.current("pay"))
    assert caught.value.details["problems"][0]["at"] == "/amount"
    assert await runs.list(limit=10) == ([], None)


@pytest.mark.parametrize("value", [{"amount": 1, "note": "a\0b"}, {"amount": 1, "n\0": 2}])
async def test_an_input_with_a_nul_is_refused(
    runs: Runs, definitions: Definitions, value: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput, match="NUL"):
        await runs.accept(replace(REQUEST, input=value), definitions.current("pay"))


async def test_a_backslash_before_u0000_is_no_nul(runs: Runs, definitions: Definitions) -> None:
    value = {"amount": 1, "note": "a\\u0000"}
    run, _ = await runs.accept(replace(REQUEST, input=value), definitions.current("pay"))
    assert run.input == {"value": value}


async def test_runs_are_listed_newest_first_and_in_pages(
    runs: Runs, definitions: Definitions, clock: MovedClock
) -> None:
    ids = []
    for _ in range(5):
        clock.now += 1
        run, _ = await runs.accept(replace(REQUEST, idempotency_key=None), definitions.current("pay"))
        ids.insert(0, run.id)
    first, after = await runs.list(limit=2)
    second, after2 = await runs.list(limit=2, after=after)
    third, end = await runs.list(limit=2, after=after2)
    assert [run.id for run in (*first, *second, *third)] == ids
    assert end is None


async def test_a_list_by_status_leaves_out_the_others(runs: Runs, definitions: Definitions) -> None:
    kept = []
    for number in range(4):
        run, _ = await runs.accept(replace(REQUEST, idempotency_key=None), definitions.current("pay"))
        if number % 2:
            await runs.update(run.id, lambda one: one.changed(status=RunStatus.COMPLETED))
        else:
            kept.append(run.id)
    listed, after = await runs.list(limit=2, status=RunStatus.ACCEPTED)
    assert sorted(run.id for run in listed) == sorted(kept)
    assert after is None or await runs.list(limit=2, after=after, status=RunStatus.ACCEPTED) == ([], None)


async def test_concurrent_changes_of_a_run_are_all_kept(runs: Runs, definitions: Definitions) -> None:
    run, _ = await runs.accept(REQUEST, definitions.current("pay"))
    change = lambda one: one.changed(cost_micro_usd=one.cost_micro_usd + 1)  # noqa: E731
    await asyncio.gather(*(runs.update(run.id, change) for _ in range(10)))
    assert (await runs.get(run.id)).cost_micro_usd == 10


@pytest.mark.parametrize("run_id", ["nope", "0" * 32, "../../etc", "A" * 32, ""])
async def test_a_run_that_is_not_there_is_not_found(runs: Runs, run_id: str) -> None:
    with pytest.raises(NotFound):
        await runs.get(run_id)


async def test_the_first_request_to_cancel_stands(runs: Runs, definitions: Definitions) -> None:
    run, _ = await runs.accept(REQUEST, definitions.current("pay"))
    await runs.request_cancel(run.id, "user:ann", "first")
    cancelled = await runs.request_cancel(run.id, "user:bob", "second")
    assert cancelled.cancel == {"actor": "user:ann", "reason": "first"}


async def test_an_ended_run_cannot_be_cancelled(runs: Runs, definitions: Definitions) -> None:
    run, _ = await runs.accept(REQUEST, definitions.current("pay"))
    await runs.update(run.id, lambda one: one.changed(status=RunStatus.COMPLETED))
    with pytest.raises(Conflict, match="completed already"):
        await runs.request_cancel(run.id, "user:ann", "late")


async def test_who_is_refused_takes_back_their_own_doorbell_and_no_other(
    doorbells: Doorbells, engine: Recorder
) -> None:
    await doorbells.remember("run-1", "approval", "board")
    with pytest.raises(Conflict):
        async with doorbells.around("run-1", "approval", "board"):
            raise Conflict("the action changed")
    assert engine.events == []
    assert await doorbells.ring_again(0.0) == 1
    assert engine.events == [("run-1", "doorbell", {"kind": "approval", "step": "board"})]


async def test_a_doorbell_is_rung_after_its_row_is_written(doorbells: Doorbells, engine: Recorder) -> None:
    async with doorbells.around("run-1", "cancel"):
        assert engine.events == []
    assert engine.events == [("run-1", "doorbell", {"kind": "cancel", "step": None})]


async def test_an_accepted_run_that_was_never_started_is_started_by_the_sweep(
    runs: Runs, definitions: Definitions, doorbells: Doorbells, engine: Recorder, clock: MovedClock
) -> None:
    run, _ = await runs.accept(REQUEST, definitions.current("pay"))
    assert await doorbells.ring_again(20.0) == 0
    clock.now += 21
    assert await doorbells.ring_again(20.0) == 1
    assert engine.started == [run.id]
    await doorbells.answered(run.id, "start")
    assert await doorbells.ring_again(20.0) == 0


async def test_an_edited_workflow_is_another_definition_and_the_snapshot_stays(
    definitions: Definitions, workflows: Path
) -> None:
    before = definitions.current("pay")
    name = await definitions.keep(before)
    edited = (workflows / "pay.yaml").read_text().replace("id: a", "id: b")
    (workflows / "pay.yaml").write_text(edited)
    assert definitions.current("pay").steps[0].id == "b"
    assert (await definitions.snapshot("pay", name)).steps[0].id == "a"


async def test_a_snapshot_is_read_by_a_process_that_did_not_write_it(
    storage: Storage, definitions: Definitions, workflows: Path
) -> None:
    name = await definitions.keep(definitions.current("pay"))
    other = Definitions(storage.rows, definitions._application)
    assert await other.snapshot("pay", name) == definitions.current("pay")


async def test_a_workflow_edited_into_nonsense_is_refused_with_its_file(
    definitions: Definitions, workflows: Path
) -> None:
    (workflows / "pay.yaml").write_text("name: pay\nsteps: []\n")
    with pytest.raises(InvalidDefinition, match=r"pay\.yaml"):
        definitions.current("pay")


async def test_a_name_in_two_files_is_refused(definitions: Definitions, workflows: Path) -> None:
    (workflows / "copy.yaml").write_text((workflows / "pay.yaml").read_text())
    with pytest.raises(InvalidDefinition, match=r"copy\.yaml and pay\.yaml"):
        definitions.all()


async def test_an_unknown_workflow_is_not_found_and_the_known_are_named(definitions: Definitions) -> None:
    with pytest.raises(NotFound, match="there is pay"):
        definitions.current("spend")


@pytest.mark.parametrize("size", [1, INLINE_BYTES - 2, INLINE_BYTES, 3 * INLINE_BYTES])
async def test_values_come_back_whatever_their_size(storage: Storage, size: int) -> None:
    values = Values(storage.blobs)
    kept = await values.keep("run-1", "x" * size)
    assert ("value" in kept) == (size + 2 <= INLINE_BYTES)
    assert await values.load("run-1", kept) == "x" * size


def test_run_ids_sort_by_time_upwards_and_their_keys_downwards() -> None:
    early, late = new_run_id(1.0, b"\xff" * 10), new_run_id(2.0, b"\x00" * 10)
    assert early < late
    assert sort_key(early) > sort_key(late)
    assert is_run_id(early)
    assert early[12] == "7"
