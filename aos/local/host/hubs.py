"""The task hubs of a data folder, one for each name; the one that the app uses is open and served."""

from dataclasses import dataclass
from pathlib import Path

from aos.local.host.apphub import AppHub
from aos.local.host.errors import HostError
from aos.local.host.files import replace_file
from aos.local.taskhub import HubError, serve
from aos.local.taskhub.server import Server

_FIRST = "hub.db"
_FIRST_NAME = "hub.name"
_LONGEST_ID = 256  # characters, as the Durable extension takes


@dataclass(frozen=True, slots=True)
class ServedHub:
    """An open hub and the port on which it is served to the durable clients of the workers."""

    name: str
    hub: AppHub
    server: Server


class Hubs:
    """At most one open hub, kept for as long as versions of the app name the same.

    The first name that is used in a data folder has `hub.db`, each other a file with its name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._served: ServedHub | None = None

    async def serve(self, name: str) -> ServedHub:
        """The hub with this name (names are compared without regard to case); another is closed."""
        if self._served is None or self._served.name.lower() != name.lower():
            await self.close()
            self._served = await _open(name, self._path(name.lower()))
        return self._served

    async def close(self) -> None:
        """Close the hub, if there is one; its state stays on disk."""
        served, self._served = self._served, None
        if served is not None:
            await served.server.stop()
            await served.hub.close()

    def _path(self, name: str) -> Path:
        note = self._folder / _FIRST_NAME
        try:
            if not note.exists():
                replace_file(note, name + "\n")
            first = note.read_text().strip()
        except OSError as error:
            raise HostError(f"cannot use {note}: {error.strerror}") from error
        return self._folder / (_FIRST if name == first else f"hub-{name}.db")


async def _open(name: str, path: Path) -> ServedHub:
    try:
        hub = await AppHub.open(path, longest_id=_LONGEST_ID)
    except HubError as error:
        raise HostError(str(error)) from error
    try:
        return ServedHub(name, hub, await serve(hub))
    except HubError as error:
        await hub.close()
        raise HostError(str(error)) from error
