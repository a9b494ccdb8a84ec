"""Noticing edits of the app: by looking, which works on every file system and needs nothing installed."""

import asyncio
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_LOOK_EVERY_S = 0.3
_NAMES = frozenset({"host.json", "local.settings.json"})
_IGNORED = frozenset({"__pycache__", "node_modules", "tests", "venv"})

type _Looks = dict[str, tuple[int, int, int]]


class Watch:
    """Python files, host.json and local.settings.json in the app's folder, and files named besides.

    Left out are `tests`, `node_modules`, `__pycache__`, hidden folders, virtual environments and `excluded`.
    """

    def __init__(self, app: Path, *, files: Iterable[Path], excluded: Iterable[Path]) -> None:
        self._app = app
        self._files = tuple(map(str, files))
        self._excluded = {str(path) for path in excluded}
        self._names = _NAMES
        self._folders: tuple[str, ...] = ()
        self._seen = self._look()

    def include(self, names: Iterable[str], folders: Iterable[str]) -> None:
        """Watch files of these names too, and everything in these folders of the app."""
        self._names = _NAMES | set(names)
        self._folders = tuple(str(self._app / folder) for folder in folders)
        self._seen = self._look() | self._seen

    async def changed(self) -> list[str]:
        """Wait for an edit and until it is complete; the names of the files that differ, and mark them."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            now = await asyncio.to_thread(self._look)
            if now == self._seen:
                continue
            while True:  # an editor that saves several files, or one in several steps, takes a moment
                await asyncio.sleep(_LOOK_EVERY_S / 2)
                before, now = now, await asyncio.to_thread(self._look)
                if now == before:
                    break
            differing = {name for name, look in self._seen.items() ^ now.items()}
            self._seen = now
            if differing:
                return sorted(name.removeprefix(f"{self._app}/") for name in differing)

    def _look(self) -> _Looks:
        looks: _Looks = {}
        for path in self._paths():
            try:
                status = Path(path).stat()
            except OSError:
                continue  # gone since it was listed
            looks[path] = status.st_mtime_ns, status.st_size, status.st_ino
        return looks

    def _paths(self) -> Iterator[str]:
        for entry in self._walk(str(self._app)):
            if entry.name.endswith(".py") or entry.name in self._names:
                yield entry.path
        for folder in self._folders:
            yield from (entry.path for entry in self._walk(folder))
        yield from self._files

    def _walk(self, folder: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as found:
                entries = list(found)
        except OSError:
            return
        if any(entry.name == "pyvenv.cfg" for entry in entries):
            return
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield entry
            elif not self._is_left_out(entry):
                yield from self._walk(entry.path)

    def _is_left_out(self, entry: os.DirEntry[str]) -> bool:
        return entry.name.startswith(".") or entry.name in _IGNORED or entry.path in self._excluded
