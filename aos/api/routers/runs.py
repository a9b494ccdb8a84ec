"""Runs: seeing them, following them, stopping them, and deciding what they wait for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, status
from starlette.responses import Response

from aos.api.access import Caller, Operator, Served, Viewer
from aos.api.body import body_of, json_body
from aos.api.follow import EventStream, follow, over
from aos.api.models import CancelRun, DecideApproval, ResolveEffect, RunPage, RunState, RunView
from aos.api.problems import problem_responses
from aos.api.views import list_runs, show_run

router = APIRouter(prefix="/runs", tags=["runs"])

_WRITE_PROBLEMS = problem_responses(400, 401, 403, 404, 409, 413, 415, 422)
_MAX_SEQUENCE = 2**53


@router.get("", name="list_runs", responses=problem_responses(401, 403, 422))
async def runs(
    system: Served,
    _: Viewer,
    status: RunState | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[
        str | None, Query(pattern=r"^[0-9a-f]{32}$", description="The `next` of the page before")
    ] = None,
) -> RunPage:
    """List runs, newest first."""
    return await list_runs(system, status, limit, after)


@router.get("/{run_id}", responses=problem_responses(401, 403, 404))
async def get_run(run_id: str, system: Served, _: Viewer) -> RunView:
    """Show a run with its steps, approvals, effects and outcome."""
    return await show_run(system, await system.runs.get(run_id))


@router.post(
    "/{run_id}/cancel",
    status_code=status.HTTP_202_ACCEPTED,
    openapi_extra=body_of(CancelRun),
    responses=_WRITE_PROBLEMS,
)
async def cancel_run(
    run_id: str,
    system: Served,
    operator: Operator,
    body: Annotated[CancelRun, Depends(json_body(CancelRun))],
) -> RunView:
    """Ask a run to stop. What is under way comes to its end, what was done is undone, then it ends."""
    return await show_run(system, await system.operations.cancel_run(operator, run_id, body.reason))


@router.get(
    "/{run_id}/events",
    response_class=EventStream,
    responses={
        200: {
            "description": "Each record: `id` is its number, `event` its type, `data` the record as JSON.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        204: {"description": "The run has ended, and Last-Event-ID is its last record"},
        **problem_responses(401, 403, 404, 422),
    },
)
async def follow_run(
    run_id: str,
    system: Served,
    _: Viewer,
    last_event_id: Annotated[int | None, Header(ge=0, le=_MAX_SEQUENCE)] = None,
) -> Response:
    """Follow a run as server-sent events: what its log holds, then what happens, until it has ended."""
    await system.runs.get(run_id)
    if await over(system, run_id, last_event_id):
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    after = 0 if last_event_id is None else last_event_id + 1
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return EventStream(follow(system, run_id, after), headers=headers)


@router.post("/{run_id}/approvals/{step}", openapi_extra=body_of(DecideApproval), responses=_WRITE_PROBLEMS)
async def decide_approval(
    run_id: str,
    step: str,
    system: Served,
    caller: Caller,
    body: Annotated[DecideApproval, Depends(json_body(DecideApproval))],
) -> RunView:
    """Approve or reject the action that a step waits with. Policy says who may."""
    await system.operations.decide(
        caller,
        run_id,
        step,
        approve=body.approve,
        reason=body.reason,
        action_hash=body.action_hash,
    )
    return await show_run(system, await system.runs.get(run_id))


@router.post(
    "/{run_id}/effects/{effect}/resolution", openapi_extra=body_of(ResolveEffect), responses=_WRITE_PROBLEMS
)
async def resolve_effect(
    run_id: str,
    effect: str,
    system: Served,
    operator: Operator,
    body: Annotated[ResolveEffect, Depends(json_body(ResolveEffect))],
) -> RunView:
    """Say what came of an effect whose outcome is unknown. The step that it holds up goes on."""
    await system.operations.resolve_effect(
        operator, run_id, effect, happened=body.happened, reason=body.reason
    )
    return await show_run(system, await system.runs.get(run_id))


@router.get(
    "/{run_id}/dossier",
    response_class=Response,
    responses={
        200: {"content": {"application/jsonl": {"schema": {"type": "string"}}}},
        **problem_responses(401, 403, 404, 409),
    },
)
async def get_dossier(run_id: str, system: Served, _: Viewer) -> Response:
    """Download the dossier of a run that has ended: its signed log, verifiable offline."""
    await system.runs.get(run_id)
    dossier = await system.log.dossier(run_id)
    headers = {"Content-Disposition": f'attachment; filename="{run_id}.dossier.jsonl"'}
    return Response(dossier, media_type="application/jsonl", headers=headers)
