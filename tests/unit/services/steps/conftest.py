"""A world of steps, each test in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from step_world import World, open_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return open_world(tmp_path, monkeypatch)
