import base64
import hashlib

import pytest
from audit_run import STRANGER, TRUSTED, PemSigner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from aos.kernel.errors import Integrity, InvalidInput
from aos.kernel.governance.audit.checkpoint import (
    Checkpoint,
    Signer,
    es256_to_der,
    parse_checkpoint,
    run_origin,
    sign_checkpoint,
    verify_checkpoint,
)

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
CHECKPOINT = Checkpoint(run_origin("acme", "run-1"), 7, bytes(range(32)))


class KeyVaultLike:
    """Signs as Key Vault does: ES256 gives r || s, and s as it falls."""

    def __init__(self, *, high_s: bool) -> None:
        self.high_s = high_s

    @property
    def public_key_pem(self) -> bytes:
        return TRUSTED.public_key_pem

    async def sign(self, data: bytes) -> bytes:
        r, s = decode_dss_signature(await TRUSTED.sign(data))
        low = min(s, ORDER - s)
        s = ORDER - low if self.high_s else low
        return es256_to_der(r.to_bytes(32) + s.to_bytes(32))


class Rotated:
    """A signer whose key was rotated under its public key."""

    public_key_pem = TRUSTED.public_key_pem

    async def sign(self, data: bytes) -> bytes:
        return await STRANGER.sign(data)


async def signed(signer: Signer = TRUSTED) -> str:
    return await sign_checkpoint(signer, CHECKPOINT)


def with_signature(text: str, signature: bytes) -> str:
    head, _, encoded = text.rpartition(" ")
    key_hash = base64.b64decode(encoded)[:4]
    return f"{head} {base64.b64encode(key_hash + signature).decode()}\n"


async def test_signed_checkpoint_has_the_c2sp_form_and_verifies() -> None:
    text = await signed()
    origin, size, root, blank, signature, end = text.split("\n")
    assert (origin, size, blank, end) == ("aos/acme/run-1", "7", "", "")
    assert base64.b64decode(root) == CHECKPOINT.root
    dash, name, encoded = signature.split(" ")
    spki = TRUSTED.key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert (dash, name) == ("—", origin)
    assert base64.b64decode(encoded)[:4] == hashlib.sha256(spki).digest()[:4]
    assert verify_checkpoint(text, TRUSTED.public_key_pem) == CHECKPOINT


@pytest.mark.parametrize("high_s", [False, True])
async def test_signature_of_either_sign_is_taken_from_a_signer_and_normalised(high_s: bool) -> None:
    text = await signed(KeyVaultLike(high_s=high_s))
    _, s = decode_dss_signature(parse_checkpoint(text).signature)
    assert s <= ORDER // 2
    assert verify_checkpoint(text, TRUSTED.public_key_pem) == CHECKPOINT


async def test_second_signature_made_without_the_key_is_refused() -> None:
    text = await signed()
    r, s = decode_dss_signature(parse_checkpoint(text).signature)
    with pytest.raises(Integrity, match="one accepted form"):
        verify_checkpoint(with_signature(text, encode_dss_signature(r, ORDER - s)), TRUSTED.public_key_pem)


async def test_signer_whose_signature_its_public_key_does_not_verify_is_caught_at_once() -> None:
    with pytest.raises(Integrity):
        await signed(Rotated())


async def test_checkpoint_signed_with_another_key_is_refused() -> None:
    with pytest.raises(Integrity, match="another key"):
        verify_checkpoint(await signed(STRANGER), TRUSTED.public_key_pem)


async def test_signature_of_another_key_under_the_trusted_keys_hash_is_refused() -> None:
    forged = with_signature(await signed(), parse_checkpoint(await signed(STRANGER)).signature)
    with pytest.raises(Integrity):
        verify_checkpoint(forged, TRUSTED.public_key_pem)


async def test_every_changed_byte_of_a_checkpoint_is_refused() -> None:
    data = (await signed()).encode()
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(Integrity):
            verify_checkpoint(changed.decode(errors="replace"), TRUSTED.public_key_pem)


SIGNATURE = base64.b64encode(bytes(4) + encode_dss_signature(1, 1)).decode()
ROOT = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        f"o\n7\n{ROOT}\n",
        f"o\n7\n{ROOT}\n\n",
        f"o\n7\n{ROOT}\n\n— o {SIGNATURE}",
        f"o\n7\n{ROOT}\n\n— o {SIGNATURE}\n\n",
        f"o\n7\n{ROOT}\n\n— o {SIGNATURE}\n— o {SIGNATURE}\n",
        f"o\n7\n{ROOT}\nextension\n\n— o {SIGNATURE}\n",
        f"o\n07\n{ROOT}\n\n— o {SIGNATURE}\n",
        f"o\n+7\n{ROOT}\n\n— o {SIGNATURE}\n",
        f"o\n-7\n{ROOT}\n\n— o {SIGNATURE}\n",
        f"o\n٧\n{ROOT}\n\n— o {SIGNATURE}\n",
        f"o\n{2**63}\n{ROOT}\n\n— o {SIGNATURE}\n",
        f"o\n{'9' * 5000}\n{ROOT}\n\n— o {SIGNATURE}\n",
        f"o\r\n7\n{ROOT}\n\n— o {SIGNATURE}\n",
        f"\n7\n{ROOT}\n\n—  {SIGNATURE}\n",
        f"o o\n7\n{ROOT}\n\n— o o {SIGNATURE}\n",
        f"o+\n7\n{ROOT}\n\n— o+ {SIGNATURE}\n",
        f"o\n7\n{ROOT}\n\n- o {SIGNATURE}\n",
        f"o\n7\n{ROOT}\n\n— p {SIGNATURE}\n",
        f"o\n7\n{ROOT[:-2]}B=\n\n— o {SIGNATURE}\n",
        f"o\n7\n{ROOT[:-4]}\n\n— o {SIGNATURE}\n",
        f"o\n7\n{ROOT}\n\n— o AAAAAAB=\n",
        f"o\n7\n{ROOT}\n\n— o AAAAA\n",
        f"o\n7\n{ROOT}\n\n— \ud800 {SIGNATURE}\n",
    ],
)
def test_text_that_is_not_exactly_a_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(Integrity):
        parse_checkpoint(text)


@given(st.text())
def test_no_text_raises_anything_but_a_refusal(text: str) -> None:
    with pytest.raises(Integrity):
        verify_checkpoint(text, TRUSTED.public_key_pem)


@given(st.binary(max_size=80))
async def test_no_signature_bytes_raise_anything_but_a_refusal(signature: bytes) -> None:
    forged = with_signature(await signed(), signature)
    with pytest.raises(Integrity):
        verify_checkpoint(forged, TRUSTED.public_key_pem)


@pytest.mark.parametrize("origin", ["", "with space", "with+plus", "line\nbreak", "é", "x" * 257])
def test_origin_that_would_frame_another_checkpoint_is_refused(origin: str) -> None:
    with pytest.raises(InvalidInput):
        Checkpoint(origin, 1, bytes(32))


def pem(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"not a key",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        pem(ec.generate_private_key(ec.SECP384R1()).public_key()),
        pem(ed25519.Ed25519PrivateKey.generate().public_key()),
    ],
    ids=["nothing", "text", "broken", "P-384", "Ed25519"],
)
async def test_key_that_is_not_a_p256_public_key_is_named_as_the_fault(key: bytes) -> None:
    with pytest.raises(InvalidInput, match="trusted key"):
        verify_checkpoint(await signed(), key)


def test_es256_signature_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidInput):
        es256_to_der(bytes(63))


def test_a_pem_signer_is_a_signer() -> None:
    signer: Signer = PemSigner()
    assert signer.public_key_pem.startswith(b"-----BEGIN PUBLIC KEY-----")
