"""The treasury: funds are reserved for a project, and released when it does not come about.

One ledger in memory holds the open reservations, so that one conditional write decides whether the
limit holds and records the reservation; the limit also bounds the ledger's size. A reservation's id is
the idempotency key of the call that made it. Releasing first leaves a receipt and then takes the
reservation out; reserving reads the ledger first and then looks for a receipt. So a late repeat of a
reservation either finds the receipt, or finds the ledger changed when it writes, and looks again.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from pydantic import BaseModel, Field

from aos.sdk import ToolContext, ToolFailed, tool

LIMIT_USD = 250_000_000.0
LEDGER = "treasury"
_ATTEMPTS = 400
_LONGEST_PAUSE_S = 0.05

type _Ledger = dict[str, dict[str, Any]]


class Reservation(BaseModel):
    """Funds set apart, under the id that releases them."""

    reservation_id: str
    reserved_usd: float


class Release(BaseModel):
    """Funds given back."""

    reservation_id: str
    released_usd: float


@tool(effect="idempotent")
async def reserve_funds(
    amount_usd: Annotated[float, Field(gt=0, le=1e12)],
    purpose: Annotated[str, Field(min_length=1, max_length=200)],
    context: ToolContext,
) -> Reservation:
    """Reserve funds of the treasury for a purpose; refused when they would go past its limit."""
    key, wanted = context.idempotency_key, round(amount_usd, 2)
    reservation = Reservation(reservation_id=key, reserved_usd=wanted)

    async def reserve(ledger: _Ledger) -> None:
        if await context.memory.get(_receipt(key)) is not None:
            return
        entry = ledger.setdefault(key, {"amount_usd": wanted, "purpose": purpose})
        if entry != {"amount_usd": wanted, "purpose": purpose}:
            raise ToolFailed("this key has already reserved another amount or for another purpose")
        reserved = math.fsum(other["amount_usd"] for id_, other in ledger.items() if id_ != key)
        if round(reserved + wanted, 2) > LIMIT_USD:
            left = f"{LIMIT_USD - reserved:,.2f}"
            raise ToolFailed(f"{wanted:,.2f} USD for {purpose!r} is more than the {left} USD left")

    await _change(context, reserve)
    return reservation


@tool(effect="idempotent")
async def release_funds(
    reservation_id: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")], context: ToolContext
) -> Release:
    """Give reserved funds back to the treasury; releasing them again changes nothing."""
    receipt = _receipt(reservation_id)

    async def release(ledger: _Ledger) -> None:
        if reservation_id in ledger:
            await context.memory.insert(receipt, ledger.pop(reservation_id)["amount_usd"])

    await _change(context, release)
    released: Any = await context.memory.get(receipt)
    if released is None:
        raise ToolFailed(f"there is no reservation {reservation_id}")
    return Release(reservation_id=reservation_id, released_usd=released.value)


def _receipt(reservation_id: str) -> str:
    return f"{LEDGER}-released-{reservation_id}"


async def _change(context: ToolContext, change: Callable[[_Ledger], Awaitable[None]]) -> None:
    """Apply ``change`` to the ledger by conditional write, again while others get in between."""
    for _ in range(_ATTEMPTS):
        entry = await context.memory.get(LEDGER)
        before: Any = {} if entry is None else entry.value
        ledger = dict(before)
        await change(ledger)
        if ledger == before:
            return
        if entry is None:
            written = await context.memory.insert(LEDGER, dict(ledger))
        else:
            written = await context.memory.replace(LEDGER, dict(ledger), entry.version)
        if written:
            return
        await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 - spreads writers, no secret
    raise ToolFailed("the treasury is busy", retryable=True)
