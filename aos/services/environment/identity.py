"""The one credential of a process, with which it reaches everything in Azure that takes no key."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenCredential, TokenRequestOptions
from azure.core.credentials_async import AsyncTokenCredential

from aos.services.environment.settings import Settings


class Credential(AsyncTokenCredential):
    """A credential for coroutines, and as ``blocking`` for those who ask from threads of their own.

    A token is fetched in a thread. Whoever asked keeps it until it is about to expire: that is a few
    threads a day. The credential keeps its tokens too, so that one serves all who ask for the same.
    """

    def __init__(self, blocking: Any) -> None:
        self.blocking: TokenCredential = blocking
        self._blocking = blocking

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return a token for the scopes."""
        token: AccessToken = await asyncio.to_thread(self._blocking.get_token, *scopes, **options)
        return token

    async def get_token_info(
        self, *scopes: str, options: TokenRequestOptions | None = None
    ) -> AccessTokenInfo:
        """Return a token for the scopes, and when it should be fetched anew."""
        token: AccessTokenInfo = await asyncio.to_thread(
            self._blocking.get_token_info, *scopes, options=options
        )
        return token

    async def close(self) -> None:
        """Disconnect."""
        await asyncio.to_thread(self._blocking.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def open_credential(settings: Settings) -> Credential | None:
    """Return the credential, which its owner closes, or None: nothing in the settings needs one.

    In Azure it is the user-assigned identity of ``AOS_IDENTITY_CLIENT_ID``; without that setting it is
    whoever is signed in on this machine (`az login`, `azd auth login`, an editor).
    """
    if not settings.needs_identity:
        return None
    from azure.identity import (  # noqa: PLC0415 - 0.3 s, which a local start does not need
        DefaultAzureCredential,
        ManagedIdentityCredential,
    )

    if settings.identity_client_id is not None:
        return Credential(ManagedIdentityCredential(client_id=settings.identity_client_id))
    return Credential(DefaultAzureCredential())
