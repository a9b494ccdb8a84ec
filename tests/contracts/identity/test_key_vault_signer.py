"""The audit's signing key in a vault, over the real SDK and TLS."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from key_vault import Identity, Vault

from aos.kernel.errors import Integrity, InvalidSetting, Unavailable
from aos.kernel.governance.audit.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from aos.kernel.governance.audit.dossier import verify_dossier
from aos.kernel.governance.audit.records import Fact, FactType
from aos.services.audit.run_log import RunLog
from aos.services.environment.clock import timestamp
from aos.services.governance.key_vault import KNOWN_S, VaultAccess, VaultKeyring
from aos.services.storage.layout import CHECKPOINTS
from aos.services.storage.local import open_local
from aos.services.storage.ports import Ref

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = "audit-signing"
HEAD = Checkpoint("aos/acme/r1", 1, hashlib.sha256(b"root").digest())


@pytest_asyncio.fixture(loop_scope="module")
async def keyring(vault: Vault, access: VaultAccess, clock) -> AsyncIterator[VaultKeyring]:
    keyring = VaultKeyring(f"{vault.url}/keys/{NAME}", access, clock=clock)
    yield keyring
    await keyring.close()


async def test_what_the_vault_signs_verifies_with_the_public_key_that_it_gives(
    vault: Vault, keyring: VaultKeyring, identity: Identity
):
    vault.rotate_key(NAME)
    signer = await keyring.signer()
    public = serialization.load_pem_public_key(signer.public_key_pem)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(await signer.sign(b"head"), b"head", ec.ECDSA(hashes.SHA256()))
    assert vault.signed == 1
    assert set(identity.scopes) == {vault.url.replace("127.", "") + "/.default"}


async def test_after_a_rotation_the_new_version_signs_and_the_old_signatures_still_verify(
    vault: Vault, keyring: VaultKeyring, clock
):
    vault.rotate_key(NAME)
    old_signer = await keyring.signer()
    old = await sign_checkpoint(old_signer, HEAD)
    vault.rotate_key(NAME)
    clock.ahead_s = KNOWN_S
    new = await sign_checkpoint(await keyring.signer(), HEAD)
    both = await keyring.public_keys()
    assert both.count(b"BEGIN PUBLIC KEY") == 2
    assert both.startswith((await keyring.signer()).public_key_pem)
    assert verify_checkpoint(old, both) == verify_checkpoint(new, both) == HEAD
    with pytest.raises(Integrity, match="another key"):
        verify_checkpoint(old, (await keyring.signer()).public_key_pem)
    await sign_checkpoint(old_signer, HEAD)  # what was begun before goes on: the old version is enabled


async def test_a_version_that_was_disabled_is_trusted_no_more(vault: Vault, keyring: VaultKeyring, clock):
    compromised = vault.rotate_key(NAME)
    forged = await sign_checkpoint(await keyring.signer(), HEAD)
    compromised.enabled = False
    vault.rotate_key(NAME)
    clock.ahead_s = KNOWN_S
    with pytest.raises(Integrity, match="another key"):
        verify_checkpoint(forged, await keyring.public_keys())


async def test_when_the_newest_version_is_disabled_the_one_before_signs_again(
    vault: Vault, keyring: VaultKeyring
):
    """At once: whoever disables a version does not wait for five minutes."""
    vault.rotate_key(NAME)
    newest = vault.rotate_key(NAME)
    disabled = await keyring.signer()
    newest.enabled = False
    with pytest.raises(Unavailable):
        await disabled.sign(b"head")
    signer = await keyring.signer()
    assert signer.id != disabled.id
    await signer.sign(b"head")
    assert await keyring.public_keys() == signer.public_key_pem


async def test_a_version_that_has_expired_signs_no_more_but_still_verifies(
    vault: Vault, keyring: VaultKeyring, clock
):
    lasting = vault.rotate_key(NAME)
    expiring = vault.rotate_key(NAME)
    expiring.expires = int(clock()) + 3600
    assert (await keyring.signer()).id.endswith(expiring.version)
    clock.ahead_s = 3601
    assert (await keyring.signer()).id.endswith(lasting.version)
    assert (await keyring.public_keys()).count(b"BEGIN PUBLIC KEY") == 2
    lasting.expires, clock.ahead_s = expiring.expires, 3601 + KNOWN_S
    with pytest.raises(Unavailable, match=r"no version of the signing key .* may sign now"):
        await keyring.signer()


async def test_callers_that_come_together_ask_once(vault: Vault, keyring: VaultKeyring):
    vault.rotate_key(NAME)
    signers = await asyncio.gather(*(keyring.signer() for _ in range(10)))
    assert len(set(map(id, signers))) == 1
    assert vault.listed == 1


async def test_while_the_vault_does_not_answer_the_known_version_stands(
    vault: Vault, keyring: VaultKeyring, clock
):
    vault.rotate_key(NAME)
    known = await keyring.signer()
    vault.failing, clock.ahead_s = 403, KNOWN_S
    assert await keyring.signer() is known


async def test_the_vault_is_asked_for_the_newest_version_every_five_minutes_only(
    vault: Vault, keyring: VaultKeyring, identity: Identity, clock
):
    vault.rotate_key(NAME)
    first = await keyring.signer()
    vault.rotate_key(NAME)
    clock.ahead_s = KNOWN_S - 10
    assert await keyring.signer() is first
    clock.ahead_s = KNOWN_S + 10
    assert await keyring.signer() is not first


async def test_throttling_passes_and_a_refusal_is_unavailable(vault: Vault, keyring: VaultKeyring):
    vault.rotate_key(NAME)
    vault.failures = [429, 503]
    signer = await keyring.signer()
    vault.failures = [429]
    await signer.sign(b"head")
    vault.failing = 403  # a role takes minutes to arrive
    with pytest.raises(Unavailable, match=f"the signing key .*{NAME}.* cannot be used"):
        await signer.sign(b"head")


async def test_a_key_that_is_missing_or_of_another_kind_is_a_wrong_setting(
    vault: Vault, keyring: VaultKeyring
):
    with pytest.raises(InvalidSetting, match="AOS_SIGNING_KEY: there is no key"):
        await keyring.signer()
    for key in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
        vault.rotate_key(NAME, key)
        with pytest.raises(InvalidSetting, match=r"is not an EC key on the curve P-256"):
            await keyring.signer()


async def test_a_dossier_verifies_across_a_rotation_and_each_checkpoint_is_archived(
    vault: Vault, keyring: VaultKeyring, tmp_path: Path, clock
):
    vault.rotate_key(NAME)
    async with open_local(tmp_path / "data") as storage, open_local(tmp_path / "archive") as archive:
        log = RunLog(storage, "acme", keyring, archive.blobs)
        facts = [
            Fact(id=str(kind), type=kind, at=timestamp(0), actor="aos", subject={}, payload={})
            for kind in (FactType.RUN_STARTED, FactType.RUN_ENDED)
        ]
        await log.append("r1", 0, facts)
        texts = [await log.checkpoint("r1")]
        vault.rotate_key(NAME)
        clock.ahead_s = KNOWN_S
        texts.append(await log.checkpoint("r1"))
        assert verify_dossier(await log.dossier("r1"), await keyring.public_keys()).size == 2
        for text in texts:
            ref = Ref(hashlib.sha256(text.encode()).hexdigest(), len(text.encode()))
            assert await archive.blobs.get(CHECKPOINTS, "acme.r1", ref) == text.encode()
