"""A small run's log and its dossier, signed with a key made for the tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aos.kernel.canonical import Json, encode
from aos.kernel.governance.audit.checkpoint import Checkpoint, run_origin, sign_checkpoint
from aos.kernel.governance.audit.dossier import build_dossier
from aos.kernel.governance.audit.records import Fact, FactType, LogHead, Record, append

TENANT, RUN = "acme", "run-1"
STORY = (
    FactType.RUN_STARTED,
    FactType.STEP_SCHEDULED,
    FactType.POLICY_DECIDED,
    FactType.STEP_COMPLETED,
    FactType.RUN_ENDED,
)


@dataclass(frozen=True)
class PemSigner:
    """Signs with a private key in this process."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @cached_property
    def public_key_pem(self) -> bytes:
        return self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    async def sign(self, data: bytes) -> bytes:
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))


TRUSTED, STRANGER = PemSigner(), PemSigner()


def fact(number: int, kind: FactType, payload: Json = None) -> Fact:
    return Fact(
        id=f"f{number}",
        type=kind,
        at=f"2026-01-31T12:00:00.{number:03}Z",
        actor="agent:cfo",
        subject={"step": "assess", "attempt": 1},
        payload=payload,
    )


def facts(kinds: Sequence[FactType] = STORY) -> list[Fact]:
    ends: Json = {"status": "completed", "cost_usd": 0.25}
    return [
        fact(number, kind, ends if kind is FactType.RUN_ENDED else {"n": number, "text": "é\n\"'"})
        for number, kind in enumerate(kinds)
    ]


def salts(count: int) -> list[bytes]:
    return [bytes([number]) * 16 for number in range(1, count + 1)]


def log(kinds: Sequence[FactType] = STORY, run: str = RUN) -> tuple[LogHead, list[Record]]:
    return append(LogHead(run), facts(kinds), salts(len(kinds)))


def sign(head: LogHead, signer: PemSigner = TRUSTED, tenant: str = TENANT) -> str:
    checkpoint = Checkpoint(run_origin(tenant, head.run), head.size, head.root)
    return asyncio.run(sign_checkpoint(signer, checkpoint))


def dossier(kinds: Sequence[FactType] = STORY, signer: PemSigner = TRUSTED) -> bytes:
    head, records = log(kinds)
    return build_dossier(TENANT, head.run, records, sign(head, signer))


def rechain(records: Sequence[Record], start: int) -> list[Record]:
    """Make each record from ``start`` on name the hash of the one before, as a forger would."""
    chain = list(records[:start])
    for record in records[start:]:
        prev = chain[-1].leaf.hash.hex() if chain else ""
        leaf = record.leaf.model_copy(update={"prev": prev, "seq": len(chain)})
        chain.append(replace(record, leaf=leaf))
    return chain


def lines(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


def edit(data: bytes, line: int, **changes: Json) -> bytes:
    """Change members of one line's object and write it canonically."""
    parts = lines(data)
    parts[line] = encode({**json.loads(parts[line]), **changes}) + b"\n"
    return b"".join(parts)
