import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from aos.kernel.errors import InvalidSetting
from aos.kernel.governance.audit.checkpoint import Signer
from aos.services.governance import LocalSigner


async def test_a_signature_verifies_with_the_public_key_beside_the_private_one(tmp_path: Path):
    signer: Signer = LocalSigner.open(tmp_path / "keys" / "audit.pem")
    pem = (tmp_path / "keys" / "audit.pem.pub").read_bytes()
    assert pem == signer.public_key_pem
    public = serialization.load_pem_public_key(pem)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    signature = await signer.sign(b"head")
    public.verify(signature, b"head", ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        public.verify(signature, b"another", ec.ECDSA(hashes.SHA256()))


def test_the_key_stays_the_same_and_is_its_owners_alone(tmp_path: Path):
    path = tmp_path / "audit.pem"
    first = LocalSigner.open(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert LocalSigner.open(path).public_key_pem == first.public_key_pem
    assert sorted(file.name for file in tmp_path.iterdir()) == ["audit.pem", "audit.pem.pub"]


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("of an older key")])
def test_a_public_key_that_is_missing_or_another_is_written_again(
    tmp_path: Path, spoil: Callable[[Path], object]
):
    path = tmp_path / "audit.pem"
    signer = LocalSigner.open(path)
    public = tmp_path / "audit.pem.pub"
    spoil(public)
    LocalSigner.open(path)
    assert public.read_bytes() == signer.public_key_pem


def test_threads_that_race_for_a_new_key_all_use_one(tmp_path: Path):
    with ThreadPoolExecutor(8) as pool:
        signers = list(pool.map(lambda _: LocalSigner.open(tmp_path / "audit.pem"), range(24)))
    assert len({signer.public_key_pem for signer in signers}) == 1


def test_processes_that_race_for_a_new_key_all_use_one(tmp_path: Path):
    program = (
        "import sys, pathlib; from aos.services.governance.signer import LocalSigner; sys.stdin.read(1);"
        "sys.stdout.buffer.write(LocalSigner.open(pathlib.Path(sys.argv[1])).public_key_pem)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "audit.pem")]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.flush()
    keys = {process.communicate(timeout=60)[0] for process in processes}
    assert keys == {(tmp_path / "audit.pem.pub").read_bytes()}


@pytest.mark.parametrize("content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_a_file_without_a_key_is_refused_and_kept(tmp_path: Path, content: bytes):
    path = tmp_path / "audit.pem"
    path.write_bytes(content)
    with pytest.raises(InvalidSetting, match=r"audit\.pem holds no private key"):
        LocalSigner.open(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)]
)
def test_a_key_of_another_kind_is_refused(
    tmp_path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
):
    path = tmp_path / "audit.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with pytest.raises(InvalidSetting, match="not of the curve P-256"):
        LocalSigner.open(path)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidSetting, match=r"audit\.pem cannot be used"):
        LocalSigner.open(tmp_path / "file" / "audit.pem")
