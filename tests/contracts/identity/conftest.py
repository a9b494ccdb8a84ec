import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from key_vault import Identity, Vault
from tls_server import TlsServer, serving_tls

from aos.services.governance.key_vault import VaultAccess


class MovedClock:
    """The real time, and ``ahead_s`` more."""

    ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Vault, TlsServer]]:
    vault = Vault()
    async with serving_tls(vault.app, tmp_path_factory.mktemp("vault")) as server:
        vault.url = server.url
        yield vault, server


@pytest.fixture
def vault(served: tuple[Vault, TlsServer]) -> Vault:
    """An empty vault."""
    vault, _ = served
    vault.keys, vault.secrets, vault.failures, vault.failing = {}, {}, [], None
    vault.signed = vault.listed = vault.read = 0
    return vault


@pytest.fixture
def identity() -> Identity:
    return Identity()


@pytest.fixture
def access(served: tuple[Vault, TlsServer], identity: Identity) -> VaultAccess:
    """How the SDK reaches the vault: it trusts the stand-in's certificate, and waits for nothing."""
    options = {"connection_verify": str(served[1].certificate), "retry_backoff_factor": 0.0}
    return VaultAccess(identity, options)


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()
