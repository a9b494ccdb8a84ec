"""Large values as block blobs named ``<owner>/<sha256>``."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient

from aos.kernel.errors import Integrity, NotFound
from aos.services.storage.azure.wire import error_code, explained
from aos.services.storage.limits import check_blob, check_blob_size
from aos.services.storage.ports import Ref

DELETES_AT_ONCE = 32


class AzureBlobs:
    """The port ``Blobs`` on a storage account."""

    def __init__(self, service: BlobServiceClient) -> None:
        self._service = service

    async def put(self, container: str, owner: str, data: bytes) -> Ref:
        """Keep ``data`` for ``owner``. What is there already is not written again: it may be immutable."""
        check_blob(container, owner)
        check_blob_size(len(data))
        ref = Ref(hashlib.sha256(data).hexdigest(), len(data))
        blob = self._blob(container, owner, ref)
        with explained(f"container {container}"):
            try:
                await _insert(blob, data)
            except ResourceNotFoundError:
                await ensure_container(self._service, container)
                await _insert(blob, data)
        return ref

    async def get(self, container: str, owner: str, ref: Ref) -> bytes:
        """Return the value."""
        check_blob(container, owner, ref)
        try:
            with explained(f"container {container}"):
                download = await self._blob(container, owner, ref).download_blob()
                data: bytes = await download.readall()
        except ResourceNotFoundError as error:
            raise NotFound(f"no stored value {ref.sha256}", owner=owner, sha256=ref.sha256) from error
        if len(data) != ref.size or hashlib.sha256(data).hexdigest() != ref.sha256:
            raise Integrity(
                f"the stored value {owner}/{ref.sha256} is not what its name says", sha256=ref.sha256
            )
        return data

    async def delete(self, container: str, owner: str, ref: Ref) -> None:
        """Remove one value; missing is fine."""
        check_blob(container, owner, ref)
        with explained(f"container {container}"):
            await delete_blob(self._blob(container, owner, ref))

    async def delete_owner(self, container: str, owner: str) -> None:
        """Remove all values of an owner."""
        check_blob(container, owner)
        client = self._service.get_container_client(container)
        listing = client.list_blob_names(name_starts_with=f"{owner}/", results_per_page=DELETES_AT_ONCE)
        with explained(f"container {container}"):
            try:
                async for page in listing.by_page():
                    await asyncio.gather(*[delete_blob(client.get_blob_client(name)) async for name in page])
            except ResourceNotFoundError:
                return  # no such container, so no such values

    def _blob(self, container: str, owner: str, ref: Ref) -> Any:
        return self._service.get_blob_client(container, f"{owner}/{ref.sha256}")


async def _insert(blob: Any, data: bytes) -> None:
    try:
        await blob.upload_blob(data)
    except ResourceExistsError as error:
        if error_code(error) != "BlobAlreadyExists":
            raise


async def ensure_container(service: BlobServiceClient, container: str) -> None:
    """Create a container if it is missing, whoever else does so now."""
    try:
        await service.create_container(container)
    except ResourceExistsError as error:
        if error_code(error) != "ContainerAlreadyExists":
            raise


async def delete_blob(blob: Any) -> None:
    """Delete a blob; missing is fine."""
    try:
        await blob.delete_blob()
    except ResourceNotFoundError:
        return
