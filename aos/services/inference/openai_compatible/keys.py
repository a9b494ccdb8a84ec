"""What proves to an endpoint who asks: a key, a key that is rotated, or a token of an identity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError
from pydantic import SecretStr

from aos.kernel.errors import InvalidSetting, Unavailable

if TYPE_CHECKING:
    from aos.services.environment.secrets import VaultSecret

AZURE_AI_SCOPE = "https://cognitiveservices.azure.com/.default"


class ModelKeys(Protocol):
    """Gives what goes into a request's header."""

    async def key(self) -> str:
        """Return the key to send now.

        Raises:
            InvalidSetting: there is none that can be sent.
            Unavailable: it cannot be had now.
        """
        ...

    def refused(self, key: str) -> bool:
        """Take note that the endpoint does not know this key; whether it is worth asking for another."""
        ...


class FixedKey:
    """A key from the settings."""

    def __init__(self, key: str) -> None:
        self._key = key

    async def key(self) -> str:
        """Return the key."""
        return self._key

    def refused(self, key: str) -> bool:
        """There is no other."""
        del key
        return False


class VaultKey:
    """A key in Key Vault: read again when the endpoint refuses it."""

    def __init__(self, secret: VaultSecret) -> None:
        self._secret = secret

    async def key(self) -> str:
        """Return the secret's value."""
        return header_value(await self._secret.value(), "AOS_MODEL_API_KEY_SECRET")

    def refused(self, key: str) -> bool:
        """Have the secret read again: it may have been rotated."""
        self._secret.distrust(SecretStr(key))
        return True


class IdentityToken:
    """A token of the process's identity, for Azure OpenAI. The credential keeps it until it expires."""

    def __init__(self, credential: AsyncTokenCredential, scope: str = AZURE_AI_SCOPE) -> None:
        self._credential = credential
        self._scope = scope

    async def key(self) -> str:
        """Return a token."""
        try:
            return (await self._credential.get_token(self._scope)).token
        except AzureError as error:
            raise Unavailable(f"AOS_MODEL_AUTH=identity: no token is to be had: {error.message}") from error

    def refused(self, key: str) -> bool:
        """Another token would say the same."""
        del key
        return False


def header_value(api_key: SecretStr, setting: str) -> str:
    """Return the key if it can stand in a header.

    A key read from a file often ends in a line feed. The HTTP client would refuse the header at every
    call, and repeat it, key and all, in its error.

    Raises:
        InvalidSetting: it cannot; names the setting.
    """
    key = api_key.get_secret_value()
    if not all("!" <= character <= "~" for character in key):
        raise InvalidSetting(f"{setting} holds white space or characters beyond ASCII")
    return key
