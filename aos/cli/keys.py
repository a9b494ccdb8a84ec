"""API keys, made and revoked by the operator of the machine, on the storage itself."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aos.cli.exits import ExitCode
from aos.cli.machine import DEFAULT_DATA, with_keys
from aos.cli.output import document, say, table
from aos.cli.session import AsJson, wants_json

if TYPE_CHECKING:
    from aos.services.auth import KeyRecord

keys = typer.Typer(help="API keys, on this machine's own storage.", no_args_is_help=True)

Data = Annotated[
    Path, typer.Option("--data", metavar="DIR", help="The data folder of `aos up`.", show_default=True)
]


@keys.command("create")
def create(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is.")],
    role: Annotated[
        list[str],
        typer.Option("--role", metavar="ROLE", help="operator, approver, viewer, or the application's own."),
    ],
    data: Data = DEFAULT_DATA,
    json: AsJson = False,
) -> int:
    """Make a key and print it; it cannot be had again."""
    text, record = with_keys(data, lambda store, tenant: store.create(name, role, tenant))
    if wants_json(context, json):
        document(_shown(record) | {"key": text})
    else:
        say(text)
    return ExitCode.OK


@keys.command("list")
def show(context: typer.Context, *, data: Data = DEFAULT_DATA, json: AsJson = False) -> int:
    """List the keys, revoked ones too; never their text."""
    found = with_keys(data, lambda store, tenant: store.list(tenant), existing=True)
    if wants_json(context, json):
        document({"keys": [_shown(record) for record in found]})
        return ExitCode.OK
    rows = [
        (key["id"], key["name"], ", ".join(key["roles"]), key["created_at"], key["revoked_at"] or "-")
        for key in map(_shown, found)
    ]
    table(("KEY", "NAME", "ROLES", "CREATED", "REVOKED"), rows)
    return ExitCode.OK


@keys.command("revoke")
def revoke(
    context: typer.Context,
    *,
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="The key's id, as `aos key list` gives it.")],
    data: Data = DEFAULT_DATA,
    json: AsJson = False,
) -> int:
    """Make a key useless for good."""
    record = with_keys(data, lambda store, tenant: store.revoke(tenant, key_id), existing=True)
    if wants_json(context, json):
        document(_shown(record))
    else:
        say(f"key {record.id} ({record.name}) is revoked")
    return ExitCode.OK


def _shown(record: KeyRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "tenant": record.tenant,
        "roles": list(record.roles),
        "created_at": _time(record.created_at),
        "revoked_at": None if record.revoked_at is None else _time(record.revoked_at),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
