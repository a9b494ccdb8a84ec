"""Storage, as the settings choose it."""

from __future__ import annotations

from azure.core.credentials_async import AsyncTokenCredential

from aos.kernel.errors import InvalidSetting
from aos.services.environment.settings import Settings
from aos.services.observability.measured import measured
from aos.services.storage.standing_by import standing_by
from aos.services.storage.storage import Storage


def open_storage(settings: Settings, credential: AsyncTokenCredential | None = None) -> Storage:
    """Open the configured backend; ``credential`` reaches an account that is given by its URLs.

    That of a standby only reads.

    Raises:
        InvalidSetting: the Azure backend lacks its connection.
    """
    storage = _open_backend(settings, credential)
    return measured(standing_by(storage) if settings.read_only else storage)


def _open_backend(settings: Settings, credential: AsyncTokenCredential | None) -> Storage:
    if settings.storage == "local":
        from aos.services.storage.local import open_local  # noqa: PLC0415 - not for Azure

        return open_local(settings.data / "storage")
    from aos.services.storage.azure import ConnectionString, Identity, open_azure  # noqa: PLC0415 - half a second

    if settings.storage_tables_url is not None and settings.storage_blobs_url is not None:
        who = required(credential)
        return open_azure(Identity(settings.storage_tables_url, settings.storage_blobs_url, who))
    if settings.storage_connection is None:
        raise InvalidSetting(
            "AOS_STORAGE_TABLES_URL and AOS_STORAGE_BLOBS_URL are missing, and so is AzureWebJobsStorage:"
            " AOS_STORAGE=azure keeps its rows and blobs there"
        )
    return open_azure(ConnectionString(settings.storage_connection))


def required(credential: AsyncTokenCredential | None) -> AsyncTokenCredential:
    """Return the credential; ``InvalidSetting`` if whoever opens a system brought none."""
    if credential is None:
        raise InvalidSetting("the settings ask for an identity: open the system with one")
    return credential
