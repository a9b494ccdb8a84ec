"""Storage on one machine: SQLite and files in a folder that several processes may use at once."""

from __future__ import annotations

from pathlib import Path

from aos.kernel.errors import InvalidSetting
from aos.services.storage.local.blobs import LocalBlobs
from aos.services.storage.local.database import Database
from aos.services.storage.local.logs import LocalLogs
from aos.services.storage.local.rows import LocalRows
from aos.services.storage.storage import Storage


def open_local(folder: Path) -> Storage:
    """Open the storage in ``folder``, which is made if it is missing.

    Raises:
        InvalidSetting: the folder cannot be used, or a newer AOS wrote what is in it.
        Integrity: its database is damaged.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSetting(
            f"{folder} cannot be used as a folder for storage: {error}", path=str(folder)
        ) from error
    database = Database(folder / "storage.db")
    blobs = LocalBlobs(folder / "blobs")

    async def close() -> None:
        await blobs.close()
        await database.close()

    return Storage(LocalRows(database), blobs, LocalLogs(database), close)


__all__ = ["open_local"]
