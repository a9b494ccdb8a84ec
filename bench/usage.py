"""What a system's processes and files take."""

import contextlib
import sqlite3
from pathlib import Path

import psutil

_DATABASES = ("*.db", "*.sqlite")


class Usage:
    """The processes that a system started, seen from their parent, and its folder."""

    def __init__(self, folder: Path, processes: set[psutil.Process]) -> None:
        self._folder, self._processes = folder, processes

    @property
    def cpu_s(self) -> float:
        """User and system time so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self._processes)

    @property
    def rss_mb(self) -> float:
        """Resident memory; pages that processes share count in each."""
        return sum(process.memory_info().rss for process in self._processes) / 2**20

    def settled_disk_bytes(self) -> int:
        """Sizes of all files in the folder, once what is in write-ahead logs was moved to the databases."""
        for pattern in _DATABASES:
            for path in self._folder.rglob(pattern):
                with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())


def children() -> set[psutil.Process]:
    """All processes below this one."""
    return set(psutil.Process().children(recursive=True))
