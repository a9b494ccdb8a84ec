"""A signed tree head in the formats of C2SP tlog-checkpoint and signed-note.

::

    aos/acme/0198c1a2
    7
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — aos/acme/0198c1a2 <base64 of key hash (4 bytes) and DER signature>

The signature is ECDSA P-256 over SHA-256 (signed-note type 0x02) of the text above the blank line,
and the key hash is the start of the SHA-256 of the key's DER SubjectPublicKeyInfo. The key name is
the origin, as tlog-checkpoint advises: a signature covers neither its own line's name nor, being
ECDSA, its own sign, so a name that is anything else and the larger of the two possible ``s`` are
refused. One log head and one key thus have no second text made from the first without the key.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from aos.kernel.errors import Integrity, InvalidInput
from aos.kernel.governance.audit.merkle import HASH_SIZE, MAX_SIZE

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order of the group of P-256."""
_KEY_HASH_SIZE = 4
_DASH = "\u2014"
_NAME = r"[!-*,-~]{1,256}"  # visible ASCII but for the plus sign
_NOTE = re.compile(
    rf"(?P<origin>{_NAME})\n(?P<size>0|[1-9][0-9]{{0,18}})\n(?P<root>[A-Za-z0-9+/]{{43}}=)\n"
    rf"\n{_DASH} (?P<name>{_NAME}) (?P<signature>[A-Za-z0-9+/]{{1,200}}={{0,2}})\n"
)


class Signer(Protocol):
    """One key that can sign for the log; its private half may lie across the network."""

    @property
    def public_key_pem(self) -> bytes:
        """The public key that verifies, as PEM."""
        ...

    async def sign(self, data: bytes) -> bytes:
        """Return the DER signature, by ECDSA P-256, of the SHA-256 of ``data``."""
        ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log: whose it is, how many leaves it has, and the root over them."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not re.fullmatch(_NAME, self.origin):
            raise InvalidInput(f"{self.origin!r} cannot be the origin of a log")
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_SIZE:
            raise InvalidInput("a checkpoint needs a size and the 32 bytes of a root")

    @property
    def text(self) -> str:
        """What is signed: origin, size and root, each with its newline."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint and a signature that nobody has verified yet."""

    checkpoint: Checkpoint
    key_hash: bytes
    signature: bytes


def run_origin(tenant: str, run: str) -> str:
    """Return the origin of a run's log."""
    return f"aos/{tenant}/{run}"


def es256_to_der(raw: bytes) -> bytes:
    """Turn ``r || s``, the form of ES256 (RFC 7518) that Key Vault gives, into DER.

    Raises:
        InvalidInput: if it is not 64 bytes long.
    """
    if len(raw) != 64:
        raise InvalidInput(f"an ES256 signature has 64 bytes, not {len(raw)}")
    return encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))


async def sign_checkpoint(signer: Signer, checkpoint: Checkpoint) -> str:
    """Return the checkpoint as a signed note.

    Raises:
        Integrity: if what the signer gave does not verify with the signer's own public key, after
            a rotation, say: nothing that cannot be verified is handed out.
    """
    signature = _lower_s(await signer.sign(checkpoint.text.encode()))
    signed = base64.b64encode(_key_hash(load_public_key(signer.public_key_pem)) + signature).decode()
    text = f"{checkpoint.text}\n{_DASH} {checkpoint.origin} {signed}\n"
    verify_checkpoint(text, signer.public_key_pem)
    return text


def parse_checkpoint(text: str) -> SignedCheckpoint:
    """Read a signed note that is exactly a checkpoint with one signature; verifies nothing.

    Raises:
        Integrity: if the text is anything else.
    """
    note = _NOTE.fullmatch(text)
    if note is None:
        raise Integrity("the checkpoint is not of the form origin, size, root, blank line, signature")
    if note["name"] != note["origin"]:
        raise Integrity(f"the checkpoint of {note['origin']} bears the signature of {note['name']}")
    root, signed, size = _unbase64(note["root"]), _unbase64(note["signature"]), int(note["size"])
    if size > MAX_SIZE:
        raise Integrity("the checkpoint's size is too large")
    checkpoint = Checkpoint(note["origin"], size, root)
    return SignedCheckpoint(checkpoint, signed[:_KEY_HASH_SIZE], signed[_KEY_HASH_SIZE:])


def verify_checkpoint(text: str, public_key_pem: bytes) -> Checkpoint:
    """Return the checkpoint if the holder of this key signed it.

    The PEM may hold several keys, as a signer has that changes its key from time to time: one of
    them signed.

    Raises:
        Integrity: if the text is malformed or the signature is not by any of these keys.
        InvalidInput: if the PEM is anything but P-256 public keys.
    """
    keys, signed = load_public_keys(public_key_pem), parse_checkpoint(text)
    key = next((key for key in keys if _key_hash(key) == signed.key_hash), None)
    if key is None:
        raise Integrity("the checkpoint was signed with another key than the one that is trusted")
    try:
        if signed.signature != _lower_s(signed.signature):
            raise Integrity("the checkpoint's signature is not in its one accepted form")
        key.verify(signed.signature, signed.checkpoint.text.encode(), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Integrity("the checkpoint's signature does not verify with the trusted key") from None
    return signed.checkpoint


def load_public_keys(pem: bytes) -> list[ec.EllipticCurvePublicKey]:
    """Read one or more public keys, one after the other in the same PEM.

    Raises:
        InvalidInput: if there is none, or one is not a P-256 public key in PEM.
    """
    begin = b"-----BEGIN "
    return [load_public_key(begin + block) for block in pem.split(begin)[1:]] or [load_public_key(pem)]


def load_public_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    """Read a public key.

    Raises:
        InvalidInput: if it is not one P-256 public key in PEM.
    """
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidInput("the trusted key is not a public key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidInput("the trusted key is not an ECDSA key on the curve P-256")
    return key


def _key_hash(key: ec.EllipticCurvePublicKey) -> bytes:
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()[:_KEY_HASH_SIZE]


def _lower_s(signature: bytes) -> bytes:
    """Return the signature with the smaller of the two values of ``s`` that verify alike."""
    try:
        r, s = decode_dss_signature(signature)
    except ValueError as error:
        raise Integrity("the checkpoint's signature is not an ECDSA signature in DER") from error
    return encode_dss_signature(r, min(s, _ORDER - s) if 0 < s < _ORDER else s)


def _unbase64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    if base64.b64encode(data).decode() != text:
        raise Integrity("the checkpoint holds malformed base64")
    return data
