"""Large payloads in files."""

import hashlib
from pathlib import Path

from durabletask.payload import LargePayloadStorageOptions, PayloadStore

_PREFIX = "file:"


class FolderStore(PayloadStore):
    """A store that this machine's processes share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def options(self) -> LargePayloadStorageOptions:
        return LargePayloadStorageOptions(threshold_bytes=20_000)

    def upload(self, data: bytes, *, instance_id: str | None = None) -> str:
        name = hashlib.sha256(data).hexdigest()
        (self._folder / name).write_bytes(data)
        return _PREFIX + name

    async def upload_async(self, data: bytes, *, instance_id: str | None = None) -> str:
        return self.upload(data, instance_id=instance_id)

    def download(self, token: str) -> bytes:
        return (self._folder / token.removeprefix(_PREFIX)).read_bytes()

    async def download_async(self, token: str) -> bytes:
        return self.download(token)

    def is_known_token(self, value: str) -> bool:
        return value.startswith(_PREFIX)
