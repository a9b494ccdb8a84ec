"""Dossiers: taken from AOS, and verified without it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from aos.cli.exits import ExitCode
from aos.cli.files import STANDARD, read_bytes, write_bytes
from aos.cli.output import complain, document, say
from aos.cli.runs import RunId
from aos.cli.session import AsJson, Url, ask, wants_json
from aos.cli.view import money
from aos.kernel.errors import Integrity

audit = typer.Typer(help="Verify dossiers offline.", no_args_is_help=True)


def save_dossier(
    context: typer.Context,
    *,
    run_id: RunId,
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE|-", help="Where to write it.")],
    url: Url = None,
    json: AsJson = False,
) -> int:
    """Save the dossier of a run that has ended: its signed log, verifiable offline."""
    dossier = ask(context, url, lambda client: client.dossier(run_id))
    write_bytes(output, dossier)
    if output == STANDARD:
        return ExitCode.OK
    if wants_json(context, json):
        document({"run": run_id, "file": output, "bytes": len(dossier)})
    else:
        say(f"{output}: {len(dossier):,} bytes")
    return ExitCode.OK


@audit.command("key")
def save_key(
    context: typer.Context,
    *,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE|-", help="Where to write it.")
    ] = STANDARD,
    url: Url = None,
    json: AsJson = False,
) -> int:
    """Save the public key that dossiers verify with. Keep it apart from them."""
    pem = ask(context, url, lambda client: client.audit_key())
    as_json = wants_json(context, json)
    if not (as_json and output == STANDARD):
        write_bytes(output, pem.encode())
    if as_json:
        document({"public_key_pem": pem})
    return ExitCode.OK


@audit.command("verify")
def verify(
    context: typer.Context,
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A dossier; - is standard input.")],
    key: Annotated[
        str, typer.Option("--key", metavar="FILE", help="The public key, PEM, from somewhere else.")
    ],
    json: AsJson = False,
) -> int:
    """Verify a dossier offline: nothing in it was changed, added, left out or put in another order."""
    from aos.kernel.governance.audit.dossier import verify_dossier  # noqa: PLC0415 - 0.1 s of cryptography

    as_json = wants_json(context, json)
    data, pem = read_bytes(file), read_bytes(key)
    try:
        found = verify_dossier(data, pem)
    except Integrity as error:
        record = error.details.get("record")
        if as_json:
            document({"verified": False, "record": record, "reason": error.message})
        complain(error.code, f"{file} is refused: {error.message}")
        return ExitCode.FAILED
    if as_json:
        document({"verified": True} | asdict(found) | {"root": found.root.hex()})
        return ExitCode.OK
    say(f"{file} verifies: run {found.run} of tenant {found.tenant}, complete in {found.size} records")
    cost = "unknown" if found.cost_usd is None else money(found.cost_usd)
    erased = f", {found.erased} payloads erased" if found.erased else ""
    span = f"from {found.started_at} to {found.ended_at}"
    say(f"  {found.status or 'its end is erased'}, {span}, cost {cost}{erased}")
    say(f"  root {found.root.hex()}, signed by the key in {key}")
    return ExitCode.OK
