"""Runs: started, listed, shown, followed, cancelled."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aos.cli import view
from aos.cli.display import console, display, tree
from aos.cli.exits import ExitCode
from aos.cli.files import read_json_object
from aos.cli.follow import follow
from aos.cli.output import document, json_line, say, table
from aos.cli.session import AsJson, Url, ask, wants_json

if TYPE_CHECKING:
    from aos.sdk.client import AosClient, RunEvent

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it goes into the dossier.")]
_PAGE = 100


class Status(StrEnum):
    """What a run can be."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


def run_workflow(
    context: typer.Context,
    *,
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="The workflow's name.")],
    input_file: Annotated[
        str, typer.Option("--input", metavar="FILE|-", help="The input, a JSON object; - is standard input.")
    ],
    follow_it: Annotated[
        bool, typer.Option("--follow", help="Show the run until it ends; with --json, its events.")
    ] = False,
    budget: Annotated[
        float | None, typer.Option("--budget", metavar="USD", help="What the run may cost.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="KEY", help="An idempotency key: run again, it starts nothing new."),
    ] = None,
    url: Url = None,
    json: AsJson = False,
) -> int:
    """Start a run of a workflow; print its id."""
    value, as_json = read_json_object(input_file), wants_json(context, json)

    async def work(client: AosClient) -> int:
        run = await client.start_run(workflow, value, idempotency_key=key, budget_usd=budget)
        if not follow_it:
            document(run) if as_json else say(run["id"])
            return ExitCode.OK
        return await (_stream(client, run) if as_json else _watch(client, run))

    return ask(context, url, work)


async def _watch(client: AosClient, run: dict[str, Any]) -> int:
    with display() as screen:
        screen.show(run)

        async def look(now: dict[str, Any]) -> None:
            screen.show(now)

        ended = await follow(client, run["id"], look)
    if ended["output"] is not None:
        document(ended["output"])
    return _verdict(ended)


async def _stream(client: AosClient, run: dict[str, Any]) -> int:
    """Print the run, its events, and the run as it ended: each a line with a ``type``."""
    json_line({"type": "run", "run": run})

    def print_event(event: RunEvent) -> None:
        json_line(event.record)

    async def look(_: dict[str, Any]) -> None:
        """Leave it to the events."""

    ended = await follow(client, run["id"], look, print_event)
    json_line({"type": "run", "run": ended})
    return _verdict(ended)


def _verdict(run: dict[str, Any]) -> int:
    return ExitCode.OK if run["status"] == "completed" else ExitCode.FAILED


def list_runs(
    context: typer.Context,
    *,
    status: Annotated[Status | None, typer.Option("--status", help="Only runs that are this.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most, the newest first.")] = 20,
    url: Url = None,
    json: AsJson = False,
) -> int:
    """List runs, newest first."""

    async def work(client: AosClient) -> dict[str, Any]:
        runs: list[dict[str, Any]] = []
        after = None
        while True:
            page = await client.list_runs(status=status, limit=min(_PAGE, limit - len(runs)), after=after)
            runs += page["runs"]
            after = page["next"]
            if after is None or len(runs) >= limit:
                return {"runs": runs, "next": after}

    found = ask(context, url, work)
    if wants_json(context, json):
        document(found)
        return ExitCode.OK
    rows = [
        (
            run["id"],
            run["workflow"],
            run["status"],
            run["created_at"],
            view.took(run),
            view.money(run["cost_usd"]),
        )
        for run in found["runs"]
    ]
    table(("RUN", "WORKFLOW", "STATUS", "CREATED", "TOOK", "COST"), rows)
    return ExitCode.OK


def show_run(context: typer.Context, *, run_id: RunId, url: Url = None, json: AsJson = False) -> int:
    """Show a run: its steps, approvals, cost and output."""
    run = ask(context, url, lambda client: client.get_run(run_id))
    if wants_json(context, json):
        document(run)
        return ExitCode.OK
    console().print(tree(run))
    for approval in view.open_approvals(run):
        say(f"{approval['step']} asks for approval of {view.action_text(approval['action'])}")
    if run["output"] is not None:
        document(run["output"])
    return ExitCode.OK


def cancel_run(
    context: typer.Context, *, run_id: RunId, reason: Reason, url: Url = None, json: AsJson = False
) -> int:
    """Ask a run to stop: what it did is undone, then it ends."""
    run = ask(context, url, lambda client: client.cancel_run(run_id, reason))
    if wants_json(context, json):
        document(run)
    else:
        say(f"run {run_id} was asked to stop; it is {run['status']}")
    return ExitCode.OK


COMMANDS: dict[str, Callable[..., int]] = {
    "run": run_workflow,
    "ps": list_runs,
    "show": show_run,
    "cancel": cancel_run,
}
