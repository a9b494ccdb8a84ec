"""The data folder: one host at a time."""

import fcntl
import os
from pathlib import Path
from typing import IO

from aos.local.host.errors import HostError


class DataFolder:
    """Where the host keeps its state, locked while it runs (the lock goes when the process does)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    def acquire(self) -> None:
        """Create the folder and lock it; `HostError` when another host has it or it cannot be used."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / "host.lock").open("a+")
        except OSError as error:
            raise HostError(f"cannot use the data folder {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.seek(0)
            owner = self._lock.read().strip()
            self._lock.close()
            raise HostError(f"the data folder {self.path} is in use by another host (pid {owner})") from error
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()

    def release(self) -> None:
        """Let another host have it."""
        if self._lock is not None:
            self._lock.close()
