"""The application's agents."""

from __future__ import annotations

import typer

from aos.cli.exits import ExitCode
from aos.cli.output import document, table
from aos.cli.session import AsJson, Url, ask, wants_json


def list_agents(context: typer.Context, *, url: Url = None, json: AsJson = False) -> int:
    """List the agents and how they are."""
    found = ask(context, url, lambda client: client.agents())
    if wants_json(context, json):
        document(found)
        return ExitCode.OK
    rows = [
        (
            agent["name"],
            agent["state"] or "-",
            agent["active"],
            agent["completed"],
            agent["failed"],
            ", ".join(agent["tools"]),
            agent["description"],
        )
        for agent in found["agents"]
    ]
    table(("AGENT", "STATE", "ACTIVE", "COMPLETED", "FAILED", "TOOLS", "DESCRIPTION"), rows)
    return ExitCode.OK
