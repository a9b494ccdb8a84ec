"""What a system's processes and files take."""

from pathlib import Path

import psutil


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

    @property
    def disk_bytes(self) -> int:
        """Sizes of all files in the folder, write-ahead logs included."""
        return sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())


def children() -> set[psutil.Process]:
    """All processes below this one."""
    return set(psutil.Process().children(recursive=True))
