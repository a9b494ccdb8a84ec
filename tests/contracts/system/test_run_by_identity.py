"""AOS as it runs in Azure: no key anywhere, tokens of a managed identity for everything.

The real app in the real host, with stand-ins over TLS: an account that takes tokens alone (Azurite), a
vault that signs and holds the model's key, a directory that vouches for callers, and the endpoint that gives
the identity's tokens. Whatever any library logs of it, at any level, holds no secret.
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
from key_vault import TOKEN, Vault
from managed_identity import CLIENT_ID, SECRET, STORAGE, ManagedIdentity
from model_endpoint import model_endpoint
from tls_server import serving_tls

from aos.kernel.governance.audit.dossier import verify_dossier
from aos.sdk import AosClient

ACCOUNT = "aosidentity"
MODEL_KEY = "sk-of-the-vault-0123456789"
EVERY_RECORD = Path(__file__).parents[2] / "standins/every_record"


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
        model = stack.enter_context(model_endpoint(approving=True))
        vault.rotate_key("audit-signing")
        vault.set_secret("model-api-key", MODEL_KEY)
        settings = {
            "AOS_STORAGE": "azure",
            "AOS_STORAGE_TABLES_URL": f"{tables}/",
            "AOS_STORAGE_BLOBS_URL": f"{blobs}/",
            "AOS_CHECKPOINTS_URL": blobs,
            "AOS_IDENTITY_CLIENT_ID": CLIENT_ID,
            "AOS_SIGNING_KEY": f"{vault.url}/keys/audit-signing",
            "AOS_MODEL": "gpt-4o",
            "AOS_MODEL_BASE_URL": model,
            "AOS_MODEL_API_KEY_SECRET": f"{vault.url}/secrets/model-api-key",
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
    key, token = await first_key(cloud.settings), cloud.directory.token("operator", "approver")
    records = tmp_path / "records"
    logged = {"PYTHONPATH": str(EVERY_RECORD), "EVERY_RECORD": str(records)}
    async with serving(cloud.settings | logged, tmp_path / "data") as (url, log):
        bus = (tmp_path / "data" / "servicebus.connection").read_text()
        shared_key = bus.partition("SharedAccessKey=")[2].partition(";")[0]
        async with AosClient(url, token) as client:
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
    said = records.read_text() + "".join(log)
    assert "azure.core.pipeline.policies.http_logging_policy: Request URL" in said
    assert "openai._base_client: Sending HTTP Request" in said
    secrets = [
        *token.split(".")[1:],
        key.split("_")[2],
        MODEL_KEY,
        TOKEN,
        SECRET,
        shared_key,
        "SharedAccessSignature ",
    ]
    assert not [secret for secret in secrets if secret in said]
