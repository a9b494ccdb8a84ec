"""Launching a project: the point of no return, where everything promised has to be true."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import BaseModel, Field

from aos.sdk import ToolContext, ToolFailed, tool


class Launch(BaseModel):
    """A launched project."""

    project_id: str
    project: str
    launch_date: date


@tool(effect="idempotent")
async def launch_project(
    *,
    project: Annotated[str, Field(min_length=1, max_length=120)],
    reservation_id: Annotated[str, Field(min_length=1, max_length=64, description="the funds it spends")],
    vendor: Annotated[str, Field(min_length=1, max_length=120)],
    vendor_confirmed: Annotated[bool, Field(description="whether the vendor has signed")],
    launch_date: date,
    earliest_start: Annotated[date, Field(description="when site, staff and permits are ready")],
    context: ToolContext,
) -> Launch:
    """Enter a project in the portfolio and start it; refused when it cannot start as proposed."""
    if not vendor_confirmed:
        raise ToolFailed(f"{project!r} cannot be launched: {vendor} has not confirmed")
    if launch_date < earliest_start:
        raise ToolFailed(f"{project!r} cannot be launched on {launch_date}, before {earliest_start}")
    launch = Launch(project_id=context.idempotency_key, project=project, launch_date=launch_date)
    record = launch.model_dump(mode="json") | {"vendor": vendor, "reservation_id": reservation_id}
    # False means that an earlier attempt with this key wrote the very same record.
    await context.memory.insert(f"project-{context.idempotency_key}", record)
    return launch
