from collections.abc import AsyncIterator

import pytest
from chat_completions_endpoint import Endpoint, MovedClock


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    await endpoint.start()
    yield endpoint
    await endpoint.stop()


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()
