"""Storage in an Azure Storage account: Tables, block blobs and append blobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from azure.core.credentials_async import AsyncTokenCredential
from azure.data.tables.aio import TableServiceClient
from azure.storage.blob.aio import BlobServiceClient, ExponentialRetry
from pydantic import SecretStr

from aos.kernel.errors import InvalidSetting
from aos.services.storage.azure.blobs import AzureBlobs
from aos.services.storage.azure.logs import PIECE_BYTES, AzureLogs
from aos.services.storage.azure.rows import AzureRows
from aos.services.storage.azure.wire import CountingTransport
from aos.services.storage.storage import Storage

RETRIES = 4


@dataclass(frozen=True, slots=True)
class ConnectionString:
    """Access by a key, as in ``AzureWebJobsStorage``."""

    value: SecretStr


@dataclass(frozen=True, slots=True)
class Identity:
    """Access by a managed identity or a signed-in user; the caller closes ``credential``."""

    tables_url: str
    blobs_url: str
    credential: AsyncTokenCredential


def open_azure(access: ConnectionString | Identity) -> Storage:
    """Return the storage of an account, for one event loop. Nothing is sent before the first use.

    Raises:
        InvalidSetting: the connection string or a URL is malformed.
    """
    transports = CountingTransport(), CountingTransport()
    try:
        tables, blobs = _clients(access, *transports)
    except ValueError:
        # The SDK's message could hold the key.
        raise InvalidSetting(
            "the connection to Azure Storage is malformed", what="AzureWebJobsStorage"
        ) from None

    async def close() -> None:
        for transport in transports:
            await transport.shut()

    return Storage(AzureRows(tables), AzureBlobs(blobs), AzureLogs(blobs), close)


def open_archive(blobs_url: str, credential: AsyncTokenCredential) -> AzureBlobs:
    """Return the blobs of another account, whose container exists and lets nothing be changed.

    For one event loop, and open for as long as the process lives.
    """
    service = BlobServiceClient(blobs_url, credential=credential, **_blob_options(CountingTransport()))
    return AzureBlobs(service)


def _clients(
    access: ConnectionString | Identity, for_tables: CountingTransport, for_blobs: CountingTransport
) -> tuple[TableServiceClient, BlobServiceClient]:
    table_options: dict[str, Any] = {"transport": for_tables, "retry_total": RETRIES}
    blob_options = _blob_options(for_blobs)
    if isinstance(access, ConnectionString):
        secret = access.value.get_secret_value()
        return (
            TableServiceClient.from_connection_string(secret, **table_options),
            BlobServiceClient.from_connection_string(secret, **blob_options),
        )
    return (
        TableServiceClient(access.tables_url, credential=access.credential, **table_options),
        BlobServiceClient(access.blobs_url, credential=access.credential, **blob_options),
    )


def _blob_options(transport: CountingTransport) -> dict[str, Any]:
    return {
        "transport": transport,
        # The SDK's default waits 15 s before the first repetition.
        "retry_policy": ExponentialRetry(0, 2, retry_total=RETRIES, random_jitter_range=1),
        # One request a download: a value is verified as a whole, a log may grow between two requests.
        "max_single_get_size": 2 * PIECE_BYTES,
    }


__all__ = ["ConnectionString", "Identity", "open_archive", "open_azure"]
