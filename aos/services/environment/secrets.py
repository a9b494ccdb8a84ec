"""Secrets in Azure Key Vault, read with the process's identity and read again when they may have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.keyvault.secrets import KeyVaultSecretIdentifier
from azure.keyvault.secrets.aio import SecretClient
from pydantic import SecretStr

from aos.kernel.errors import InvalidSetting, Unavailable

KNOWN_S = 300.0
"""How long a value serves before it is read again."""


class VaultSecret:
    """A secret whose value may be rotated. ``identifier`` is the secret's, without a version.

    ``setting`` names whoever wanted it, in errors. For one event loop.
    """

    def __init__(
        self,
        identifier: str,
        credential: AsyncTokenCredential,
        *,
        setting: str,
        clock: Callable[[], float],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        found = KeyVaultSecretIdentifier(identifier)
        self._identifier = identifier
        self._name = found.name
        self._setting = setting
        self._clock = clock
        self._client = SecretClient(found.vault_url, credential, **(options or {}))
        self._value: SecretStr | None = None
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    async def value(self) -> SecretStr:
        """Return the value; the last one known serves on while the vault does not give another.

        Raises:
            InvalidSetting: there is no such secret, or it is empty.
            Unavailable: the vault has not given it yet.
        """
        async with self._reading:
            if self._value is None or not 0 <= self._clock() - self._read_at < KNOWN_S:
                await self._read()
            assert self._value is not None, "a read that fails without a value raises"
            return self._value

    def distrust(self, value: SecretStr) -> None:
        """Have the secret read again: this value was refused where it was used."""
        if self._value is not None and value.get_secret_value() == self._value.get_secret_value():
            self._read_at = float("-inf")

    async def close(self) -> None:
        """Disconnect; the credential stays open."""
        await self._client.close()

    async def _read(self) -> None:
        try:
            found = await self._client.get_secret(self._name)
        except ResourceNotFoundError as error:
            raise InvalidSetting(f"{self._setting}: there is no secret {self._identifier}") from error
        except AzureError as error:
            if self._value is None:
                raise Unavailable(
                    f"{self._setting}: {self._identifier} cannot be read: {error.message}"
                ) from error
            return
        if not found.value:
            raise InvalidSetting(f"{self._setting}: the secret {self._identifier} is empty")
        self._value, self._read_at = SecretStr(found.value), self._clock()
