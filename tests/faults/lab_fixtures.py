"""The fixtures of the suites that run AOS with the lab application."""

from collections.abc import Iterator

import pytest
from lab_stack import Stack, Target


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    target = Target(tmp_path_factory.mktemp("target"))
    yield target
    target.stop()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, target: Target) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("lab") / "shared", target)
    yield stack
    stack.stop()


@pytest.fixture
def stack(shared: Stack) -> Iterator[Stack]:
    """AOS in a data folder that has seen every crash of the tests before: it must bear them all."""
    shared.revive()
    yield shared
    shared.disarm()
