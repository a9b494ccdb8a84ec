"""Workflows: what can be started, and starting it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Response, status

from aos.api.access import Operator, Served, Viewer
from aos.api.body import body_of, json_body
from aos.api.models import RunView, StartRun, WorkflowList, WorkflowView
from aos.api.problems import problem_responses
from aos.api.views import show_run, show_workflow, show_workflow_summary

router = APIRouter(prefix="/workflows", tags=["workflows"])

IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[\x21-\x7e]([\x20-\x7e]{0,198}[\x21-\x7e])?$",
        description="1 to 200 printable characters: the same key and request is the same run",
    ),
]


@router.get("", responses=problem_responses(401, 403))
async def list_workflows(system: Served, _: Viewer) -> WorkflowList:
    """List the workflows that can be started."""
    return WorkflowList(workflows=[show_workflow_summary(each) for each in system.definitions.all()])


@router.get("/{name}", responses=problem_responses(401, 403, 404))
async def get_workflow(name: str, system: Served, _: Viewer) -> WorkflowView:
    """Show a workflow: its definition, and the schema of its input."""
    return show_workflow(system.definitions.current(name))


@router.post(
    "/{name}/runs",
    status_code=status.HTTP_202_ACCEPTED,
    openapi_extra=body_of(StartRun),
    responses={
        200: {"model": RunView, "description": "The run that this idempotency key started before"},
        **problem_responses(400, 401, 403, 404, 409, 413, 415, 422),
    },
)
async def start_run(
    *,
    name: str,
    system: Served,
    operator: Operator,
    response: Response,
    body: Annotated[StartRun, Depends(json_body(StartRun))],
    idempotency_key: IdempotencyKey = None,
) -> RunView:
    """Start a run of a workflow. With an idempotency key the request may be repeated."""
    run, new = await system.operations.start_run(
        operator, name, body.input, budget_usd=body.budget_usd, idempotency_key=idempotency_key
    )
    response.headers["Location"] = f"/api/runs/{run.id}"
    if not new:
        response.status_code = status.HTTP_200_OK
    return await show_run(system, run)
