from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from api_server import Api, open_api


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """A system of the test's own."""
    async with open_api(tmp_path) as api:
        yield api


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """A system for a module whose tests leave each other alone."""
    async with open_api(tmp_path_factory.mktemp("shared")) as api:
        yield api
