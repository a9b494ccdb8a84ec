"""Storage for contract suites: every backend, each test in a fresh folder or a fresh account.

The Azure backend speaks to Azurite, Microsoft's emulator. `make setup` installs it into ``.tools``.
"""

from __future__ import annotations

import itertools
import os
import queue
import re
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import SecretStr

from aos.services.storage import Storage
from aos.services.storage.azure import ConnectionString, open_azure
from aos.services.storage.local import open_local

AZURITE = Path(__file__).parents[2] / ".tools/node_modules/azurite/dist/src/azurite.js"
START_TIMEOUT_S = 60
ACCOUNTS = 5000
KEY = "a2V5"  # "key" in base64: the emulator is reachable from this machine only


@dataclass
class Azurite:
    """A running emulator, with accounts nobody has used."""

    blob_port: int
    table_port: int
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(ACCOUNTS)))

    def new_account(self, *, blob_port: int | None = None, table_port: int | None = None) -> ConnectionString:
        """Return the way to an empty account, through other ports of this machine if those are given."""
        name = f"aos{next(self.numbers):04}"
        return ConnectionString(
            SecretStr(
                f"DefaultEndpointsProtocol=http;AccountName={name};AccountKey={KEY};"
                f"BlobEndpoint=http://127.0.0.1:{blob_port or self.blob_port}/{name};"
                f"TableEndpoint=http://127.0.0.1:{table_port or self.table_port}/{name};"
            )
        )


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """Azurite on ports of its own; one for each worker of pytest-xdist."""
    if not AZURITE.exists():
        pytest.fail(
            "Azurite is not installed: run `npm install --prefix .tools azurite@3.37.0`", pytrace=False
        )
    accounts = ";".join(f"aos{number:04}:{KEY}" for number in range(ACCOUNTS))
    ports = itertools.chain.from_iterable((f"--{name}Port", "0") for name in ("blob", "queue", "table"))
    with subprocess.Popen(
        [
            "node",
            AZURITE,
            *["--skipApiVersionCheck", "--inMemoryPersistence", "--silent", "--disableTelemetry"],
            *ports,
        ],
        env={**os.environ, "AZURITE_ACCOUNTS": accounts},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        reader = threading.Thread(target=_read, args=(process.stdout, lines))
        reader.start()
        try:
            found = _listening_ports(lines)
            yield Azurite(found["Blob"], found["Table"])
        finally:
            process.kill()
            reader.join()


def _read(stream: Iterator[str], lines: queue.SimpleQueue[str | None]) -> None:
    """Read to the end, so that the emulator never blocks on a full pipe."""
    for line in stream:
        lines.put(line)
    lines.put(None)


def _listening_ports(lines: queue.SimpleQueue[str | None]) -> dict[str, int]:
    """Wait until all services listen."""
    ports: dict[str, int] = {}
    seen: list[str] = []
    while not {"Blob", "Table"} <= ports.keys():
        try:
            line = lines.get(timeout=START_TIMEOUT_S)
        except queue.Empty:
            line = None
        if line is None:
            pytest.fail(f"Azurite does not start: {''.join(seen)}", pytrace=False)
        seen.append(line)
        if match := re.search(r"(\w+) service is successfully listening at http://127\.0\.0\.1:(\d+)", line):
            ports[match[1]] = int(match[2])
    return ports


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
