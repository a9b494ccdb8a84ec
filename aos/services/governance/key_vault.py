"""The key that signs audit checkpoints in Azure Key Vault: EC P-256, ES256. It never leaves the vault.

The vault rotates the key by adding versions. The newest signs; the public keys of all enabled versions
are given out, so that what an earlier one signed still verifies.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.keyvault.keys import KeyCurveName, KeyType, KeyVaultKey, KeyVaultKeyIdentifier
from azure.keyvault.keys.aio import KeyClient
from azure.keyvault.keys.crypto import SignatureAlgorithm
from azure.keyvault.keys.crypto.aio import CryptographyClient
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aos.kernel.errors import InvalidSetting, Unavailable
from aos.kernel.governance.audit.checkpoint import es256_to_der

KNOWN_S = 300.0
"""How long the newest version is taken to be the newest: a rotated key signs at the latest then."""


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
        self._signers: dict[str, VaultSigner] = {}  # one that is in use may have been rotated away
        self._current: VaultSigner | None = None
        self._known_at = 0.0
        self._public: dict[str, bytes] = {}

    async def signer(self) -> VaultSigner:
        """Return the newest version.

        Raises:
            Unavailable: the vault does not answer.
            InvalidSetting: there is no such key, or it is of another kind.
        """
        now = self._clock()
        if self._current is None or not 0 <= now - self._known_at < KNOWN_S:
            with _explained(self._identifier):
                key = await self._keys.get_key(self._name)
            if str(key.id) not in self._signers:
                self._signers[str(key.id)] = VaultSigner(key, self._access)
            self._current, self._known_at = self._signers[str(key.id)], now
        return self._current

    async def public_keys(self) -> bytes:
        """Return the public keys of all enabled versions, the newest first."""
        current = await self.signer()
        with _explained(self._identifier):
            versions = [
                (each.created_on, each.version)
                async for each in self._keys.list_properties_of_key_versions(self._name)
                if each.enabled and each.version
            ]
            for _, version in versions:
                if version not in self._public:
                    self._public[version] = _pem(await self._keys.get_key(self._name, version))
        earlier = [self._public[version] for _, version in sorted(versions, reverse=True)]
        return b"".join(dict.fromkeys((current.public_key_pem, *earlier)))

    async def close(self) -> None:
        """Disconnect; the credential stays open."""
        for signer in self._signers.values():
            await signer.close()
        await self._keys.close()


class VaultSigner:
    """One version of the key."""

    def __init__(self, key: KeyVaultKey, access: VaultAccess) -> None:
        self.id = str(key.id)
        self.public_key_pem = _pem(key)
        # By its id alone, so that nothing is done with the key on this machine.
        self._crypto = CryptographyClient(self.id, access.credential, **access.options)

    async def sign(self, data: bytes) -> bytes:
        """Return the DER signature, by ECDSA P-256, of the SHA-256 of ``data``.

        Raises:
            Unavailable: the vault does not answer, or refuses.
        """
        with _explained(self.id):
            result = await self._crypto.sign(SignatureAlgorithm.es256, hashlib.sha256(data).digest())
        return es256_to_der(result.signature)

    async def close(self) -> None:
        """Disconnect."""
        await self._crypto.close()


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
