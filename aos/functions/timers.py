"""The timer functions: sweeps that make good what a crash left half done."""

from __future__ import annotations

import logging

import azure.functions as func

from aos.functions.activities import TENANT_BUDGET
from aos.functions.process import engine, system
from aos.services.observability.metrics import RUNG_AGAIN, SWEEPS

_LOG = logging.getLogger(__name__)
UNANSWERED_S = 20.0
REMEMBERED_S = 30 * 86_400.0
"""No step lasts longer: nothing asks again for a reservation that is older."""

blueprint = func.Blueprint()


@blueprint.timer_trigger(arg_name="timer", schedule="*/20 * * * * *", run_on_startup=True)
@blueprint.generic_input_binding(arg_name="client", type="durableClient")
async def ring_again(timer: func.TimerRequest, client: str) -> None:
    """Ring the doorbells that nobody answered: runs that never started, decisions that were not read."""
    del timer
    engine().attach(client)
    rung = await system().doorbells.ring_again(UNANSWERED_S)
    SWEEPS.add(1)
    RUNG_AGAIN.add(rung)
    if rung:
        _LOG.info("rang %d doorbells again", rung)


@blueprint.timer_trigger(arg_name="timer", schedule="0 30 3 * * *")
@blueprint.generic_input_binding(arg_name="client", type="durableClient")
async def compact_budget(timer: func.TimerRequest, client: str) -> None:
    """Have the tenant's ledger forget reservations that ended long ago."""
    del timer
    engine().attach(client)
    if system().settings.tenant_budget_usd is not None:
        before = system().clock() - REMEMBERED_S
        await engine().signal_budget(TENANT_BUDGET, "compact", {"before": before})
