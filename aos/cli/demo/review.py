"""One proposal on its way: started, followed, approved, its dossier taken and verified."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aos.cli.demo.outcome import WORKFLOW, Outcome, read_dossier
from aos.cli.display import Display
from aos.cli.files import write_bytes
from aos.cli.follow import follow
from aos.cli.view import open_approvals
from aos.kernel.errors import Integrity

if TYPE_CHECKING:
    from aos.sdk.client import AosClient

BOARDS_REASON = "the figures hold, and the funds are there"


async def review(
    client: AosClient, name: str, proposal: Mapping[str, Any], *, screen: Display, folder: Path, pem: bytes
) -> Outcome:
    """Take a proposal through its run to its dossier, which is verified with the key ``pem``."""
    run = await client.start_run(WORKFLOW, proposal, idempotency_key=f"demo-{name}")
    with screen:
        screen.show(run)

        async def look(now: dict[str, Any]) -> None:
            screen.show(now)
            for approval in open_approvals(now):
                await client.approve(
                    now["id"], approval["step"], reason=BOARDS_REASON, action_hash=approval["action_hash"]
                )

        ended = await follow(client, run["id"], look)
    dossier = await client.dossier(ended["id"])
    path = dossier_file(folder, name)
    write_bytes(str(path), dossier)
    records, refusal = _verify(path, pem)
    answers, models, calls = read_dossier(dossier)
    return Outcome(name, proposal, ended, answers, models, calls, records, refusal)


def dossier_file(folder: Path, name: str) -> Path:
    """Return where a proposal's dossier is written."""
    return folder / f"dossier-{name}.jsonl"


def _verify(path: Path, pem: bytes) -> tuple[int | None, str | None]:
    from aos.kernel.governance.audit.dossier import verify_dossier  # noqa: PLC0415 - not for `--help`

    try:
        return verify_dossier(path.read_bytes(), pem).size, None
    except Integrity as error:
        return None, error.message


def read_proposals(folder: Path) -> dict[str, Any]:
    """Return the proposals by name: those that succeed first, so that the story builds up."""
    order = ("warehouse-automation", "loyalty-platform", "battery-storage")
    found = {path.stem: json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))}
    return {name: found[name] for name in (*(n for n in order if n in found), *(found.keys() - {*order}))}
