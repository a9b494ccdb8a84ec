from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_process import Command, Server, environment


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("api"))
    yield server
    server.close()


@pytest.fixture
def aos(tmp_path: Path) -> Command:
    """`aos` without a server or a key."""
    return Command(tmp_path, environment())


@pytest.fixture
def aos_as(server: Server, tmp_path: Path) -> Callable[[str], Command]:
    """`aos` against the API, with the key of a role."""

    def of(role: str) -> Command:
        return Command(tmp_path, environment(AOS_URL=server.api.url, AOS_KEY=server.api.keys[role]))

    return of
