"""The key that signs audit checkpoints on one machine: ECDSA P-256 with SHA-256 (ES256) in a PEM file."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aos.kernel.errors import InvalidSetting


class LocalSigner:
    """Signs with a private key that lies in a file; makes the file on first use. Its own keyring, too."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @staticmethod
    def open(path: Path) -> LocalSigner:
        """Read the key in ``path``, made first if it is missing; the public key lies beside it, in ``.pub``.

        Of several processes that open a new path at once, one makes the key and all use it.

        Raises:
            InvalidSetting: the file cannot be read or written, or holds no private key of P-256.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                _make_once(path, _new_key())
            signer = LocalSigner(_read_key(path))
            public = path.with_name(f"{path.name}.pub")
            if not public.exists() or public.read_bytes() != signer.public_key_pem:
                _overwrite(public, signer.public_key_pem)
        except OSError as error:
            raise InvalidSetting(f"the signing key {path} cannot be used: {error}", path=str(path)) from error
        return signer

    @property
    def public_key_pem(self) -> bytes:
        """The public key that verifies, as PEM."""
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    async def signer(self) -> LocalSigner:
        """Return the key that signs now: there is one."""
        return self

    async def public_keys(self) -> bytes:
        """Return its public key as PEM."""
        return self.public_key_pem

    async def sign(self, data: bytes) -> bytes:
        """Return the DER signature, by ECDSA P-256, of the SHA-256 of ``data``."""
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))


def _new_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidSetting(f"{path} holds no private key that can be read", path=str(path)) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidSetting(f"{path} holds a key that is not of the curve P-256", path=str(path))
    return key


def _make_once(path: Path, secret: bytes) -> None:
    """Put a whole, durable file at ``path`` unless there is one by then: ``link`` never overwrites."""
    draft = _draft(path, secret, 0o600)
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()
    _sync_folder(path.parent)


def _overwrite(path: Path, data: bytes) -> None:
    _draft(path, data, 0o644).replace(path)
    _sync_folder(path.parent)


def _draft(path: Path, data: bytes, mode: int) -> Path:
    """Write a durable file beside ``path`` under a name of its own."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        draft.unlink()
        raise
    return draft


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
