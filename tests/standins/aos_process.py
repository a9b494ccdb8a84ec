"""AOS as a process of its own, and a review taken through it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from aos.sdk import AosClient

ROOT = Path(__file__).parents[2]
PROPOSAL = ROOT / "apps/leadership/proposals/warehouse-automation.json"


@contextlib.asynccontextmanager
async def serving(settings: dict[str, str], data: Path) -> AsyncIterator[tuple[str, list[str]]]:
    """Run AOS in the local host with these settings; gives its URL, and its log once it has ended."""
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
        yield said[-1].split(" at ")[1].split(",")[0].strip(), said
    finally:
        with contextlib.suppress(ProcessLookupError):
            host.send_signal(signal.SIGTERM)
        await host.wait()
    said.append((await drain).decode())


async def launched(client: AosClient, proposal: Path = PROPOSAL) -> str:
    """Take a review through its approval to its end."""
    run = await client.start_run("strategic-review", json.loads(proposal.read_text()))
    async with asyncio.timeout(90):
        async for event in client.events(run["id"]):
            if event.type == "approval.requested":
                asked = (await client.get_run(run["id"]))["approvals"][0]
                await client.approve(
                    run["id"], asked["step"], reason="the figures hold", action_hash=asked["action_hash"]
                )
    return str(run["id"])
