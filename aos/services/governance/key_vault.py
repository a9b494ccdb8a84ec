"""The key that signs audit checkpoints in Azure Key Vault: EC P-256, ES256. It never leaves the vault.

The vault rotates the key by adding versions. The newest that may sign does; the public keys of all enabled
versions are given out, so that what an earlier one signed still verifies. The vault itself is asked for a
version by name: without one it answers for the newest, and refuses when that one is disabled.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.keyvault.keys import KeyCurveName, KeyProperties, KeyType, KeyVaultKey, KeyVaultKeyIdentifier
from azure.keyvault.keys.aio import KeyClient
from azure.keyvault.keys.crypto import SignatureAlgorithm
from azure.keyvault.keys.crypto.aio import CryptographyClient
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aos.kernel.errors import InvalidSetting, Unavailable
from aos.kernel.governance.audit.checkpoint import es256_to_der

KNOWN_S = 300.0
"""How long the versions are taken to be all: a rotated key signs at the latest then."""
_REFUSED = frozenset({403, 404})


@dataclass(frozen=True, slots=True)
class VaultAccess:
    """How a vault is reached; ``options`` go to the SDK's clients."""

    credential: AsyncTokenCredential
    options: Mapping[str, Any]


class VaultKeyring:
    """The versions of one key. ``identifier`` is the key's, without a version. For one event loop."""

    def __init__(self, identifier: str, access: VaultAccess, *, clock: Callable[[], float]) -> None:
        self._identifier = identifier
        self._access = access
        self._clock = clock
        found = KeyVaultKeyIdentifier(identifier)
        self._name = found.name
        self._keys = KeyClient(found.vault_url, access.credential, **access.options)
        self._versions: list[KeyProperties] = []
        self._listed_at = float("-inf")
        self._asking = asyncio.Lock()
        self._signers: dict[str, VaultSigner] = {}  # one that is in use may have been rotated away

    async def signer(self) -> VaultSigner:
        """Return the newest version that may sign now.

        Raises:
            Unavailable: the vault does not answer, or every version is disabled or has expired.
            InvalidSetting: there is no such key, or it is of another kind.
        """
        now = datetime.fromtimestamp(self._clock(), UTC)
        for version in await self._enabled():
            if _is_valid(version, now):
                return await self._signer(version)
        raise Unavailable(f"no version of the signing key {self._identifier} may sign now")

    async def public_keys(self) -> bytes:
        """Return the public keys of all enabled versions, the one that signs first."""
        signer = await self.signer()
        signers = [await self._signer(version) for version in await self._enabled()]
        return b"".join(dict.fromkeys(each.public_key_pem for each in (signer, *signers)))

    async def close(self) -> None:
        """Disconnect; the credential stays open."""
        for signer in self._signers.values():
            await signer.close()
        await self._keys.close()

    async def _enabled(self) -> list[KeyProperties]:
        """The enabled versions, the newest first; while the vault does not answer, those it had last."""
        async with self._asking:
            now = self._clock()
            if not 0 <= now - self._listed_at < KNOWN_S:
                try:
                    self._versions = await self._list()
                except Unavailable:
                    if not self._versions:
                        raise
                else:
                    self._listed_at = now
        return self._versions

    async def _list(self) -> list[KeyProperties]:
        with _explained(self._identifier):
            listed = [each async for each in self._keys.list_properties_of_key_versions(self._name)]
        if not listed:
            raise InvalidSetting(f"AOS_SIGNING_KEY: there is no key {self._identifier}")
        return sorted((each for each in listed if each.enabled), key=_created, reverse=True)

    async def _signer(self, version: KeyProperties) -> VaultSigner:
        if version.id not in self._signers:
            with _explained(self._identifier):
                key = await self._keys.get_key(self._name, version.version)
            # Another coroutine may have been here meanwhile.
            self._signers.setdefault(version.id, VaultSigner(key, self._access, self._distrust))
        return self._signers[version.id]

    def _distrust(self) -> None:
        """Have the versions listed anew: one was refused, which may have been disabled."""
        self._listed_at = float("-inf")


class VaultSigner:
    """One version of the key; ``on_refusal`` is called when the vault does not sign with it any more."""

    def __init__(self, key: KeyVaultKey, access: VaultAccess, on_refusal: Callable[[], None]) -> None:
        self.id = str(key.id)
        self.public_key_pem = _pem(key)
        # By its id alone, so that nothing is done with the key on this machine.
        self._crypto = CryptographyClient(self.id, access.credential, **access.options)
        self._on_refusal = on_refusal

    async def sign(self, data: bytes) -> bytes:
        """Return the DER signature, by ECDSA P-256, of the SHA-256 of ``data``.

        Raises:
            Unavailable: the vault does not answer, or refuses.
        """
        with _explained(self.id):
            try:
                result = await self._crypto.sign(SignatureAlgorithm.es256, hashlib.sha256(data).digest())
            except HttpResponseError as error:
                if error.status_code in _REFUSED:
                    self._on_refusal()
                raise
        return es256_to_der(result.signature)

    async def close(self) -> None:
        """Disconnect."""
        await self._crypto.close()


def _created(version: KeyProperties) -> datetime:
    return version.created_on or datetime.min.replace(tzinfo=UTC)


def _is_valid(version: KeyProperties, now: datetime) -> bool:
    begun = version.not_before is None or version.not_before <= now
    return begun and (version.expires_on is None or now < version.expires_on)


@contextlib.contextmanager
def _explained(identifier: str) -> Iterator[None]:
    """Turn the SDK's errors into ours, by meaning. Key Vault's messages hold no secret."""
    try:
        yield
    except ResourceNotFoundError as error:
        raise InvalidSetting(f"AOS_SIGNING_KEY: there is no key {identifier}") from error
    except AzureError as error:
        raise Unavailable(f"the signing key {identifier} cannot be used: {error.message}") from error


def _pem(key: KeyVaultKey) -> bytes:
    """The public key as PEM; ``InvalidSetting`` when it is not of the curve P-256."""
    jwk: Any = key.key  # its members are set as the vault gives them
    if key.key_type not in (KeyType.ec, KeyType.ec_hsm) or jwk.crv != KeyCurveName.p_256:
        raise InvalidSetting(f"AOS_SIGNING_KEY: {key.id} is not an EC key on the curve P-256")
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(jwk.x), int.from_bytes(jwk.y), ec.SECP256R1())
    return numbers.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
