"""A whole run on the Azure backends: the real host, worker and API, with Azurite as the account."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aos.kernel.governance.audit.dossier import verify_dossier
from aos.sdk import AosClient
from aos.services.auth.keys import KeyStore
from aos.services.storage.azure import open_azure

ROOT = Path(__file__).parents[3]
PROPOSAL = ROOT / "apps/leadership/proposals/battery-storage.json"
ROLES = ("operator", "approver", "viewer")


@pytest.fixture
async def client(azurite: Any, tmp_path: Path) -> AsyncIterator[AosClient]:
    account = azurite.new_account()
    async with open_azure(account) as storage:
        key, _ = await KeyStore(storage.rows).create("tester", ROLES, "default")
    environment = os.environ | {
        "AOS_STORAGE": "azure",
        "AOS_DATA": str(tmp_path / "aos"),
        "AzureWebJobsStorage": account.value.get_secret_value(),
        "TASKHUB_NAME": "aos",
    }
    arguments = ["-m", "aos.local.host", "--app", str(ROOT), "--port", "0", "--data", str(tmp_path / "data")]
    host = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=environment, stderr=asyncio.subprocess.PIPE
    )
    assert host.stderr is not None
    try:
        async with asyncio.timeout(60):
            async for line in host.stderr:
                if b" at http://" in line:
                    break
        url = line.decode().split(" at ")[1].split(",")[0].strip()
        drain = asyncio.create_task(host.stderr.read())
        async with AosClient(url, key) as connected:
            yield connected
    finally:
        host.send_signal(signal.SIGTERM)
        await host.wait()
    await drain


async def test_a_run_that_is_undone_ends_on_azure_storage_and_its_dossier_verifies(client: AosClient) -> None:
    run = await client.start_run("strategic-review", json.loads(PROPOSAL.read_text()))
    async with asyncio.timeout(90):
        async for event in client.events(run["id"]):
            if event.type == "approval.requested":
                asked = (await client.get_run(run["id"]))["approvals"][0]
                await client.approve(
                    run["id"], asked["step"], reason="the figures hold", action_hash=asked["action_hash"]
                )
    ended = await client.get_run(run["id"])
    assert ended["status"] == "failed"
    assert [(one["step"], one["state"]) for one in ended["compensations"]] == [("reserve", "completed")]
    verified = verify_dossier(await client.dossier(run["id"]), (await client.audit_key()).encode())
    assert (verified.run, verified.status) == (run["id"], "failed")
