"""What people decide: approvals, and effects whose outcome is unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from aos.cli.exits import ExitCode
from aos.cli.output import document, one_line, say
from aos.cli.runs import Reason, RunId
from aos.cli.session import AsJson, Url, ask, wants_json
from aos.cli.view import action_text
from aos.kernel.errors import NotFound

if TYPE_CHECKING:
    from aos.sdk.client import AosClient


def approve(
    context: typer.Context,
    *,
    run_id: RunId,
    step: Annotated[str, typer.Argument(metavar="STEP", help="The step that asks.")],
    reason: Reason,
    reject: Annotated[bool, typer.Option("--reject", help="Say no instead.")] = False,
    url: Url = None,
    json: AsJson = False,
) -> int:
    """Approve the action that a step waits with, exactly as it is shown, or reject it."""
    as_json = wants_json(context, json)

    async def work(client: AosClient) -> dict[str, Any]:
        approval = approval_of(await client.get_run(run_id), step)
        if not as_json:
            say(one_line(approval["prompt"]))
            say(action_text(approval["action"]))
        decide = client.reject if reject else client.approve
        return await decide(run_id, step, reason=reason, action_hash=approval["action_hash"])

    run = ask(context, url, work)
    if as_json:
        document(run)
    else:
        say(f"{step} of run {run_id} is {approval_of(run, step)['state']}")
    return ExitCode.OK


def approval_of(run: dict[str, Any], step: str) -> dict[str, Any]:
    """Return the approval that a step of the run asks for.

    Raises:
        NotFound: it asks for none; the message names the steps that do.
    """
    approvals: dict[str, dict[str, Any]] = {approval["step"]: approval for approval in run["approvals"]}
    if step not in approvals:
        asking = f"what asks: {', '.join(approvals)}" if approvals else "no step does"
        raise NotFound(f"step {step!r} of run {run['id']} asks for no approval; {asking}", run=run["id"])
    return approvals[step]


def resolve(
    context: typer.Context,
    *,
    run_id: RunId,
    effect: Annotated[str, typer.Argument(metavar="EFFECT", help="The id of an effect, as `show` gives it.")],
    happened: Annotated[bool, typer.Option("--happened/--not-happened", help="What came of it.")],
    reason: Reason = "no reason was given",
    url: Url = None,
    json: AsJson = False,
) -> int:
    """Say whether an effect happened of which nobody knows; the step goes on from there."""
    run = ask(
        context, url, lambda client: client.resolve_effect(run_id, effect, happened=happened, reason=reason)
    )
    if wants_json(context, json):
        document(run)
    else:
        say(
            f"effect {effect} {'happened' if happened else 'did not happen'}; run {run_id} is {run['status']}"
        )
    return ExitCode.OK
