"""AOS as it runs in Azure: no key anywhere, tokens of a managed identity for everything.

The real app in the real host, with stand-ins over TLS: an account that takes tokens alone (Azurite), a
vault that signs, a directory that vouches for callers, and the endpoint that gives the identity's tokens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from azure.storage.blob.aio import BlobServiceClient
from azurite import KEY, azurite_ports
from entra_directory import AUDIENCE, TENANT, Directory
from key_vault import Vault
from managed_identity import CLIENT_ID, SECRET, STORAGE, ManagedIdentity
from tls_server import serving_tls

from aos.kernel.governance.audit.dossier import verify_dossier
from aos.sdk import AosClient

ROOT = Path(__file__).parents[3]
PROPOSAL = ROOT / "apps/leadership/proposals/warehouse-automation.json"
ACCOUNT = "aosidentity"


@dataclass
class Cloud:
    """The stand-ins, and the settings with which AOS finds them."""

    directory: Directory
    vault: Vault
    identity: ManagedIdentity
    settings: dict[str, str]
    blobs: BlobServiceClient
    """The operator's own way to the account."""


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    directory, vault, identity, tls = Directory(), Vault(), ManagedIdentity(), tmp_path / "tls"
    async with contextlib.AsyncExitStack() as stack:
        directory.authority = (await stack.enter_async_context(serving_tls(directory.app, tls))).url
        vault.url = (await stack.enter_async_context(serving_tls(vault.app, tls))).url
        endpoint = await stack.enter_async_context(serving_tls(identity.app, tls))
        certificate = str(endpoint.certificate)
        files = ["--cert", certificate, "--key", str(tls / "key.pem")]
        ports = stack.enter_context(azurite_ports(f"{ACCOUNT}:{KEY}", "--oauth", "basic", *files))
        tables, blobs = (f"https://127.0.0.1:{ports[name]}/{ACCOUNT}" for name in ("Table", "Blob"))
        vault.rotate_key("audit-signing")
        settings = {
            "AOS_STORAGE": "azure",
            "AOS_STORAGE_TABLES_URL": f"{tables}/",
            "AOS_STORAGE_BLOBS_URL": f"{blobs}/",
            "AOS_CHECKPOINTS_URL": blobs,
            "AOS_IDENTITY_CLIENT_ID": CLIENT_ID,
            "AOS_SIGNING_KEY": f"{vault.url}/keys/audit-signing",
            "AOS_AUTH_TENANT_ID": TENANT,
            "AOS_AUTH_AUDIENCE": AUDIENCE,
            "AOS_AUTH_AUTHORITY": directory.authority,
            "AOS_DATA": str(tmp_path / "aos"),
            "TASKHUB_NAME": "aos",
            "IDENTITY_ENDPOINT": f"{endpoint.url}/msi/token",
            "IDENTITY_HEADER": SECRET,
            "SSL_CERT_FILE": certificate,
        }
        client = BlobServiceClient(blobs, credential=KEY, connection_verify=certificate)
        await stack.enter_async_context(client)
        yield Cloud(directory, vault, identity, settings, client)


@contextlib.asynccontextmanager
async def serving(settings: dict[str, str], data: Path) -> AsyncIterator[str]:
    """Run AOS in the local host with these settings; gives its URL."""
    arguments = ["-m", "aos.local.host", "--app", str(ROOT), "--port", "0", "--data", str(data)]
    host = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=os.environ | settings, stderr=asyncio.subprocess.PIPE
    )
    assert host.stderr is not None
    said = []
    try:
        async with asyncio.timeout(90):
            async for line in host.stderr:
                said.append(line.decode())
                if b" at http://" in line:
                    break
        assert " at http://" in said[-1], "".join(said)
        drain = asyncio.create_task(host.stderr.read())
        yield said[-1].split(" at ")[1].split(",")[0].strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            host.send_signal(signal.SIGTERM)
        await host.wait()
    assert KEY not in (await drain).decode()


async def first_key(settings: dict[str, str]) -> str:
    """What `aos key create` prints."""
    arguments = ["-m", "aos.cli.main", "key", "create", "first", "--role", "viewer"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env=os.environ | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    return printed.decode().strip()


async def launched(client: AosClient) -> str:
    """Take a review through its approval to its end."""
    run = await client.start_run("strategic-review", json.loads(PROPOSAL.read_text()))
    async with asyncio.timeout(90):
        async for event in client.events(run["id"]):
            if event.type == "approval.requested":
                asked = (await client.get_run(run["id"]))["approvals"][0]
                await client.approve(
                    run["id"], asked["step"], reason="the figures hold", action_hash=asked["action_hash"]
                )
    return str(run["id"])


async def test_a_run_in_azure_needs_no_key_and_is_signed_in_the_vault(cloud: Cloud, tmp_path: Path) -> None:
    key = await first_key(cloud.settings)
    async with serving(cloud.settings, tmp_path / "data") as url:
        async with AosClient(url, cloud.directory.token("operator", "approver")) as client:
            run = await launched(client)
        async with AosClient(url, key) as viewer:
            ended = await viewer.get_run(run)
            assert ended["status"] == "completed"
            dossier, keys = await viewer.dossier(run), (await viewer.audit_key()).encode()
    verified = verify_dossier(dossier, keys)
    assert (verified.run, verified.status) == (run, "completed")
    assert b'"user:ada@contoso.example"' in dossier
    assert cloud.vault.signed > 0
    assert not (tmp_path / "aos" / "signing-key.pem").exists()
    vault = f"https://{cloud.vault.url.partition('127.')[2]}"
    assert set(cloud.identity.asked) == {STORAGE, vault}
    archive = cloud.blobs.get_container_client("checkpoints")
    archived = [name async for name in archive.list_blob_names(name_starts_with=f"default.{run}/")]
    assert len(archived) == 1
