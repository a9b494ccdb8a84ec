"""AOS as it runs in Azure: no key anywhere, tokens of a managed identity for everything.

The real app in the real host, with stand-ins over TLS: an account that takes tokens alone (Azurite), a
vault that signs, a directory that vouches for callers, and the endpoint that gives the identity's tokens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aos_process import launched, serving
from azure.storage.blob.aio import BlobServiceClient
from azurite import KEY, azurite_ports
from entra_directory import AUDIENCE, OBJECT, TENANT, Directory
from key_vault import Vault
from managed_identity import CLIENT_ID, SECRET, STORAGE, ManagedIdentity
from tls_server import serving_tls

from aos.kernel.governance.audit.dossier import verify_dossier
from aos.sdk import AosClient

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
            "REQUESTS_CA_BUNDLE": certificate,
        }
        client = BlobServiceClient(blobs, credential=KEY, connection_verify=certificate)
        await stack.enter_async_context(client)
        yield Cloud(directory, vault, identity, settings, client)


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


async def test_a_run_in_azure_needs_no_key_and_is_signed_in_the_vault(cloud: Cloud, tmp_path: Path) -> None:
    key = await first_key(cloud.settings)
    async with serving(cloud.settings, tmp_path / "data") as (url, _):
        async with AosClient(url, cloud.directory.token("operator", "approver")) as client:
            run = await launched(client)
        async with AosClient(url, key) as viewer:
            ended = await viewer.get_run(run)
            assert ended["status"] == "completed"
            dossier, keys = await viewer.dossier(run), (await viewer.audit_key()).encode()
    verified = verify_dossier(dossier, keys)
    assert (verified.run, verified.status) == (run, "completed")
    assert f'"user:ada@contoso.example ({OBJECT})"'.encode() in dossier
    assert cloud.vault.signed > 0
    assert not (tmp_path / "aos" / "signing-key.pem").exists()
    vault = f"https://{cloud.vault.url.partition('127.')[2]}"
    assert sorted(cloud.identity.asked) == sorted([STORAGE, STORAGE, vault]), (
        "one credential: the command's, the app's"
    )
    archive = cloud.blobs.get_container_client("checkpoints")
    archived = [name async for name in archive.list_blob_names(name_starts_with=f"default.{run}/")]
    assert len(archived) == 1
