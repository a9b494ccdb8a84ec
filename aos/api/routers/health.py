"""Health, for whoever decides to send requests here or to start the process anew."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from aos.api.access import Served
from aos.api.models import Health
from aos.api.problems import problem_responses
from aos.kernel.errors import Unavailable
from aos.services.storage import layout

router = APIRouter(prefix="/health", tags=["health"])

_PATIENCE_S = 5.0


@router.get("/live")
async def live() -> Health:
    """Say that the process answers."""
    return Health(status="live")


@router.get("/ready", responses=problem_responses())
async def ready(system: Served) -> Health:
    """Say that the storage answers as well."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await system.storage.rows.list(layout.RUNS, system.settings.tenant, limit=1)
    except TimeoutError as error:
        raise Unavailable(f"the storage did not answer within {_PATIENCE_S} s") from error
    return Health(status="ready")
