"""The worlds of the functions' tests are those of the steps' tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "services" / "steps"))

from step_world import World, open_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = open_world(tmp_path, monkeypatch)
    monkeypatch.setattr("aos.functions.activities.system", lambda: world.system)
    return world
