"""The dossier of a real run, taken and verified by the real command: whatever is done to it is refused."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from lab_stack import Stack

from aos.kernel.governance.audit.checkpoint import Checkpoint, run_origin, sign_checkpoint
from aos.kernel.governance.audit.dossier import build_dossier
from aos.kernel.governance.audit.merkle import root_of
from aos.kernel.governance.audit.records import Record
from aos.services.governance.signer import LocalSigner

REFUSED = 1


class Files:
    """The dossier and the key, as an auditor has them."""

    def __init__(self, folder: Path) -> None:
        self.dossier, self.key = folder / "dossier.jsonl", folder / "key.pem"

    @property
    def lines(self) -> list[bytes]:
        return self.dossier.read_bytes().splitlines(keepends=True)

    def verify(self, data: bytes) -> subprocess.CompletedProcess[str]:
        changed = self.dossier.with_name("changed.jsonl")
        changed.write_bytes(data)
        return aos("--json", "audit", "verify", str(changed), "--key", str(self.key))


def aos(*arguments: str, stack: Stack | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ} | ({"AOS_URL": stack.url, "AOS_KEY": stack.key} if stack else {})
    command = [str(Path(sys.executable).with_name("aos")), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def files(shared: Stack, tmp_path_factory: pytest.TempPathFactory) -> Files:
    files = Files(tmp_path_factory.mktemp("audit"))
    (files.dossier.parent / "order.json").write_text(json.dumps({"amount": 12.5, "fails": True}))
    order = str(files.dossier.parent / "order.json")
    ran = aos("--json", "run", "order", "--input", order, "--follow", stack=shared)
    ended = json.loads(ran.stdout.splitlines()[-1])
    assert ended, ran
    listed = json.loads(aos("--json", "ps", "--limit", "1", stack=shared).stdout)
    run = listed["runs"][0]["id"]
    assert aos("dossier", run, "-o", str(files.dossier), stack=shared).returncode == 0
    assert aos("audit", "key", "-o", str(files.key), stack=shared).returncode == 0
    return files


def test_the_dossier_verifies_offline(files: Files) -> None:
    verified = files.verify(files.dossier.read_bytes())
    assert verified.returncode == 0, verified
    assert json.loads(verified.stdout)["status"] == "failed"


def _byte(lines: list[bytes]) -> list[bytes]:
    return [*lines[:5], lines[5].replace(b"room", b"roam", 1), *lines[6:]]


def _dropped(lines: list[bytes]) -> list[bytes]:
    return [*lines[:5], *lines[6:]]


def _swapped(lines: list[bytes]) -> list[bytes]:
    return [*lines[:5], lines[6], lines[5], *lines[7:]]


def _cut(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-3], lines[-1]]


@pytest.mark.parametrize("tampered", [_byte, _dropped, _swapped])
def test_the_first_record_that_differs_is_named(
    files: Files, tampered: Callable[[list[bytes]], list[bytes]]
) -> None:
    refused = files.verify(b"".join(tampered(files.lines)))
    assert refused.returncode == REFUSED, refused
    assert json.loads(refused.stdout)["record"] == 4, "line 6 is record 4: the header is line 1"


def test_a_tail_that_was_cut_off_is_missed(files: Files) -> None:
    refused = files.verify(b"".join(_cut(files.lines)))
    assert refused.returncode == REFUSED, refused
    assert json.loads(refused.stdout)["record"] == len(files.lines) - 4, "the one that is not there"


def records_in(files: Files) -> list[Record]:
    return [Record.from_json(json.loads(line)) for line in files.lines[1:-1]]


async def signed(files: Files, signer: LocalSigner, records: list[Record], covered: int) -> bytes:
    """A dossier of the records with a checkpoint that covers the first so many."""
    header = json.loads(files.lines[0])
    root = root_of([record.leaf.hash for record in records[:covered]])
    origin = run_origin(header["tenant"], header["run"])
    text = await sign_checkpoint(signer, Checkpoint(origin, covered, root))
    return build_dossier(header["tenant"], header["run"], records, text)


async def test_an_older_valid_checkpoint_does_not_pass_for_the_last(files: Files, shared: Stack) -> None:
    signer = LocalSigner.open(shared.data / "aos" / "signing-key.pem")
    records = records_in(files)
    for kept, why in ((records, "an older one"), (records[:-1], "not in run.ended")):
        refused = files.verify(await signed(files, signer, kept, len(records) - 1))
        assert refused.returncode == REFUSED, refused
        assert why in json.loads(refused.stdout)["reason"]


async def test_what_another_key_signed_is_refused(files: Files, tmp_path: Path) -> None:
    signer = LocalSigner(ec.generate_private_key(ec.SECP256R1()))
    refused = files.verify(await signed(files, signer, records_in(files), len(files.lines) - 2))
    assert refused.returncode == REFUSED, refused
    assert "key" in refused.stderr
