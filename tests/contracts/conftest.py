"""Storage for contract suites: every backend, each test in a fresh folder or a fresh account."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from azurite import ACCOUNTS, KEY, Azurite, azurite_ports

from aos.services.storage import Storage
from aos.services.storage.azure import open_azure
from aos.services.storage.local import open_local


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """Azurite on ports of its own; one for each worker of pytest-xdist."""
    accounts = ";".join(f"aos{number:04}:{KEY}" for number in range(ACCOUNTS))
    with azurite_ports(accounts) as found:
        yield Azurite(found["Blob"], found["Table"])


type OpenStorage = Callable[[], Storage]


@pytest.fixture(params=["local", "azure"])
def open_storage(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStorage:
    """Opens the same storage each time it is called; each test has its own. Close what you open."""
    if request.param == "local":
        return lambda: open_local(tmp_path / "storage")
    account = request.getfixturevalue("azurite").new_account()
    return lambda: open_azure(account)


@pytest.fixture
async def storage(open_storage: OpenStorage) -> AsyncIterator[Storage]:
    """An empty storage of each backend."""
    async with open_storage() as opened:
        yield opened
