"""Append-only logs as append blobs; the service itself compares the position of each append."""

from __future__ import annotations

import contextlib

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import BlobClient, BlobServiceClient

from aos.kernel.errors import TooLarge
from aos.services.storage import layout
from aos.services.storage.azure.blobs import delete_blob, ensure_container
from aos.services.storage.azure.wire import counted, error_code, explained
from aos.services.storage.limits import MAX_APPENDS, check_append, check_log, check_span
from aos.services.storage.ports import Stale

CONTAINER = layout.LOGS
PIECE_BYTES = 32 * 1024 * 1024


class AzureLogs:
    """The port ``Logs`` on a storage account."""

    def __init__(self, service: BlobServiceClient) -> None:
        self._service = service

    async def append(self, log: str, expected_size: int, data: bytes) -> int:
        """Add ``data`` if the log is ``expected_size`` bytes long."""
        check_append(log, expected_size, len(data))
        with explained(f"log {log}"):
            try:
                return await self._append(log, expected_size, data)
            except ResourceNotFoundError as error:
                if expected_size:
                    raise _stale(log, expected_size, 0) from error
                await self._create(log)
                return await self._append(log, expected_size, data)

    async def read(self, log: str, offset: int = 0, limit: int | None = None) -> bytes:
        """Return the bytes from ``offset``, at most ``limit``."""
        check_span(log, offset, limit)
        pieces = []
        wanted = limit
        with explained(f"log {log}"):
            while wanted is None or wanted > 0:
                length = PIECE_BYTES if wanted is None else min(wanted, PIECE_BYTES)
                piece = await self._read_piece(log, offset, length)
                pieces.append(piece)
                if len(piece) < length:
                    break
                offset += length
                wanted = None if wanted is None else wanted - length
        return b"".join(pieces)

    async def size(self, log: str) -> int:
        """Return the size in bytes."""
        check_log(log)
        with explained(f"log {log}"):
            return await self._size(log)

    async def delete(self, log: str) -> None:
        """Remove the log; missing is fine."""
        check_log(log)
        with explained(f"log {log}"):
            await delete_blob(self._blob(log))

    def _blob(self, log: str) -> BlobClient:
        return self._service.get_blob_client(CONTAINER, log)

    async def _append(self, log: str, expected_size: int, data: bytes) -> int:
        with counted() as sendings:
            try:
                await self._blob(log).append_block(data, appendpos_condition=expected_size)
            except HttpResponseError as error:
                if error_code(error) == "BlockCountExceedsLimit":
                    raise TooLarge(
                        f"log {log!r} has had the {MAX_APPENDS} appends that it can take", log=log
                    ) from error
                if error_code(error) != "AppendPositionConditionNotMet":
                    raise
                # A log never changes behind its end, so what stands there tells whether it was us.
                if not (sendings.repeated and await self._holds(log, expected_size, data)):
                    raise _stale(log, expected_size, await self._size(log)) from error
        return expected_size + len(data)

    async def _holds(self, log: str, offset: int, data: bytes) -> bool:
        return await self._read_piece(log, offset, len(data)) == data

    async def _create(self, log: str) -> None:
        await ensure_container(self._service, CONTAINER)
        with contextlib.suppress(ResourceExistsError):
            await self._blob(log).create_append_blob(match_condition=MatchConditions.IfMissing)

    async def _read_piece(self, log: str, offset: int, length: int) -> bytes:
        try:
            download = await self._blob(log).download_blob(offset=offset, length=length)
            return await download.readall()
        except ResourceNotFoundError:
            return b""
        except HttpResponseError as error:
            if error.status_code == 416:  # the log ends before the offset
                return b""
            raise

    async def _size(self, log: str) -> int:
        try:
            return (await self._blob(log).get_blob_properties()).size
        except ResourceNotFoundError:
            return 0


def _stale(log: str, expected: int, actual: int) -> Stale:
    return Stale(f"log {log} has {actual} bytes, not {expected}", log=log, expected=expected, actual=actual)
