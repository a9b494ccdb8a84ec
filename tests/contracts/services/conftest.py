"""Services over whichever backend the test is run against, with a clock that tests move."""

from __future__ import annotations

from pathlib import Path

import pytest
from service_world import MovedClock, Recorder

from aos.sdk import Application, tool
from aos.services.definitions.definitions import Definitions
from aos.services.runs.doorbells import Doorbells
from aos.services.runs.runs import Runs
from aos.services.runs.values import Values
from aos.services.storage import Storage

WORKFLOW = """
name: pay
input: {type: object, required: [amount], properties: {amount: {type: number}}}
steps: [{id: a, kind: tool, tool: spend, with: {amount: "${{ input.amount }}"}}]
"""


@tool(effect="none")
def spend(amount: float) -> float:
    """Spend an amount."""
    return amount


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def engine() -> Recorder:
    return Recorder()


@pytest.fixture
def workflows(tmp_path: Path) -> Path:
    folder = tmp_path / "workflows"
    folder.mkdir()
    (folder / "pay.yaml").write_text(WORKFLOW)
    return folder


@pytest.fixture
def definitions(storage: Storage, workflows: Path) -> Definitions:
    return Definitions(storage.rows, Application("shop", tools=[spend], workflows=workflows))


@pytest.fixture
def doorbells(storage: Storage, engine: Recorder, clock: MovedClock) -> Doorbells:
    return Doorbells(storage.rows, engine, clock)


@pytest.fixture
def runs(storage: Storage, definitions: Definitions, doorbells: Doorbells, clock: MovedClock) -> Runs:
    return Runs(
        rows=storage.rows,
        values=Values(storage.blobs),
        definitions=definitions,
        doorbells=doorbells,
        clock=clock,
        tenant="acme",
    )
