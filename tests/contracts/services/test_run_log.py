"""The run's log on either backend: appended once, made good after a crash, and proved."""

from __future__ import annotations

from pathlib import Path

import pytest
from service_world import MovedClock

from aos.kernel.errors import Conflict
from aos.kernel.governance.audit.dossier import verify_dossier
from aos.kernel.governance.audit.records import Fact, FactType
from aos.services.audit.facts import Facts
from aos.services.audit.run_log import HEADS, RunLog, event_of
from aos.services.governance.signer import LocalSigner
from aos.services.runs.values import Values
from aos.services.storage import Storage

AT = "2026-01-31T12:00:00.000Z"


def fact(name: str, kind: FactType = FactType.STEP_SCHEDULED) -> Fact:
    return Fact(id=name, type=kind, at=AT, actor="aos", payload={"status": "completed", "cost_usd": 0.5})


@pytest.fixture
def signer(tmp_path: Path) -> LocalSigner:
    return LocalSigner.open(tmp_path / "key.pem")


@pytest.fixture
def log(storage: Storage, signer: LocalSigner) -> RunLog:
    return RunLog(storage, "acme", signer)


async def test_facts_become_records_in_their_order(log: RunLog) -> None:
    assert await log.append("r1", 0, [fact("a"), fact("b")]) == 2
    assert await log.append("r1", 2, [fact("c")]) == 3
    assert [event_of(record)["id"] for record in await log.read("r1")] == ["a", "b", "c"]
    assert [record.seq for record in await log.read("r1", after=1)] == [1, 2]


async def test_an_append_done_again_is_a_no_op(log: RunLog) -> None:
    await log.append("r1", 0, [fact("a")])
    await log.append("r1", 1, [fact("b")])
    assert await log.append("r1", 0, [fact("a")]) == 2
    assert len(await log.read("r1")) == 2


async def test_an_append_in_the_place_of_another_is_refused(log: RunLog) -> None:
    await log.append("r1", 0, [fact("a")])
    with pytest.raises(Conflict):
        await log.append("r1", 0, [fact("z")])
    assert [record.leaf.id for record in await log.read("r1")] == ["a"]


async def test_a_head_that_a_crash_left_behind_is_made_good(log: RunLog, storage: Storage) -> None:
    await log.append("r1", 0, [fact("a")])
    before = await storage.rows.get(HEADS, "r1", "head")
    assert before is not None
    await log.append("r1", 1, [fact("b")])
    await storage.rows.upsert(HEADS, "r1", "head", before.value)
    assert await log.append("r1", 1, [fact("b")]) == 2
    assert await log.append("r1", 2, [fact("c")]) == 3
    assert [record.leaf.id for record in await log.read("r1")] == ["a", "b", "c"]


async def test_a_dossier_verifies_with_the_key_from_outside(log: RunLog, signer: LocalSigner) -> None:
    await log.append("r1", 0, [fact("a", FactType.RUN_STARTED), fact("z", FactType.RUN_ENDED)])
    with pytest.raises(Conflict, match="not ended"):
        await log.dossier("r1")
    await log.checkpoint("r1")
    verified = verify_dossier(await log.dossier("r1"), signer.public_key_pem)
    assert (verified.run, verified.tenant, verified.size, verified.cost_usd) == ("r1", "acme", 2, 0.5)


async def test_a_fact_is_said_once_and_by_whoever_said_it_first(storage: Storage, clock: MovedClock) -> None:
    facts = Facts(storage.rows, Values(storage.blobs), clock)
    await facts.write("r1", "x", FactType.STEP_SCHEDULED, actor="first", subject={})
    clock.now += 1
    await facts.write("r1", "x", FactType.STEP_SCHEDULED, actor="second", subject={})
    await facts.write("r1", "a", FactType.STEP_SCHEDULED, actor="later", subject={})
    assert [found.actor for found in await facts.all("r1")] == ["first", "later"]
    assert await facts.read("r1", "nothing") is None


async def test_more_facts_than_one_append_takes_are_all_logged_and_once_when_repeated(
    log: RunLog, storage: Storage, clock: MovedClock
) -> None:
    facts = Facts(storage.rows, Values(storage.blobs), clock)
    large = [
        await facts.make(
            "r1", f"f{n}", FactType.STEP_PREPARED, actor="aos", subject={}, payload={"text": "x" * 250_000}
        )
        for n in range(24)
    ]
    assert await log.append("r1", 0, large[:10]) == 10  # as by an append that was cut off
    assert await log.append("r1", 0, large) == 24
    assert await log.append("r1", 0, large) == 24
    assert [record.leaf.id for record in await log.read("r1")] == [fact.id for fact in large]


async def test_an_append_beyond_the_end_of_the_log_is_refused(log: RunLog) -> None:
    with pytest.raises(Conflict):
        await log.append("r1", 3, [fact("a")])


def nested(depth: int) -> list[object]:
    return [nested(depth - 1)] if depth else []


@pytest.mark.parametrize("value", ["x" * 3_000_000, nested(150)], ids=["large", "deep"])
async def test_a_fact_with_a_value_that_no_record_takes_holds_its_hash(
    storage: Storage, clock: MovedClock, value: object
) -> None:
    values = Values(storage.blobs)
    facts = Facts(storage.rows, values, clock)
    payload = {"tool": "look", "value": value}
    await facts.write("r1", "f", FactType.EFFECT_SETTLED, actor="aos", subject={}, payload=payload)
    fact = await facts.read("r1", "f")
    assert fact is not None
    assert isinstance(fact.payload, dict)
    assert fact.payload["tool"] == "look"
    assert await values.load("r1", fact.payload["value"]) == value
