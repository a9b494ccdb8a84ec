"""The one credential of a process, with which it reaches everything in Azure that takes no key."""

from __future__ import annotations

from azure.core.credentials_async import AsyncTokenCredential

from aos.services.environment.settings import Settings


def open_credential(settings: Settings) -> AsyncTokenCredential | None:
    """Return the credential, which its owner closes, or None: nothing in the settings needs one.

    In Azure it is the user-assigned identity of ``AOS_IDENTITY_CLIENT_ID``; without that setting it is
    whoever is signed in on this machine (`az login`, `azd auth login`, an editor).
    """
    if not settings.needs_identity:
        return None
    from azure.identity.aio import (  # noqa: PLC0415 - 0.3 s, which a local start does not need
        DefaultAzureCredential,
        ManagedIdentityCredential,
    )

    if settings.identity_client_id is not None:
        return ManagedIdentityCredential(client_id=settings.identity_client_id)
    return DefaultAzureCredential()
