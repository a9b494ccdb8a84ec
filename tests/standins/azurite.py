"""Azurite, Microsoft's emulator of a storage account. `make test` installs it into ``.tools``."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import SecretStr

from aos.services.storage.azure import ConnectionString

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


@contextlib.contextmanager
def azurite_ports(accounts: str, *more: str) -> Iterator[dict[str, int]]:
    """Run Azurite with these accounts and further arguments; the ports of its services by name."""
    if not AZURITE.exists():
        pytest.fail(
            "Azurite is not installed: run `npm install --prefix .tools azurite@3.37.0`", pytrace=False
        )
    ports = itertools.chain.from_iterable((f"--{name}Port", "0") for name in ("blob", "queue", "table"))
    with subprocess.Popen(
        [
            "node",
            AZURITE,
            *["--skipApiVersionCheck", "--inMemoryPersistence", "--silent", "--disableTelemetry"],
            *ports,
            *more,
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
            yield _listening_ports(lines)
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
        if match := re.search(
            r"(\w+) service is successfully listening at https?://127\.0\.0\.1:(\d+)", line
        ):
            ports[match[1]] = int(match[2])
    return ports
