"""The treasury: funds are reserved for a project, and released when it does not come about.

One ledger in memory holds every reservation, so that one conditional write decides whether the limit
holds and records the reservation. A reservation's id is the idempotency key of the call that made it. A
released one stays in the ledger: a late repeat of its reservation must not reserve again.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, Field

from aos.sdk import Json, ToolContext, ToolFailed, tool

LIMIT_USD = 250_000_000.0
LEDGER = "treasury"
_ATTEMPTS = 400
_LONGEST_PAUSE_S = 0.05

type _Ledger = dict[str, dict[str, Any]]


class Reservation(BaseModel):
    """Funds set apart, under the id that releases them."""

    reservation_id: str
    reserved_usd: float
    available_usd: float = Field(description="what was left of the treasury's limit just after")


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
    wanted = round(amount_usd, 2)

    def reserve(ledger: _Ledger) -> Reservation:
        entry = ledger.get(context.idempotency_key)
        if entry is None:
            available = round(LIMIT_USD - _reserved(ledger) - wanted, 2)
            if available < 0:
                left = f"{available + wanted:,.2f}"
                raise ToolFailed(f"{wanted:,.2f} USD for {purpose!r} is more than the {left} USD left")
            entry = {"amount_usd": wanted, "purpose": purpose, "left_usd": available, "released": False}
            ledger[context.idempotency_key] = entry
        elif (entry["amount_usd"], entry["purpose"]) != (wanted, purpose):
            raise ToolFailed("this key has already reserved another amount or for another purpose")
        return Reservation(
            reservation_id=context.idempotency_key,
            reserved_usd=entry["amount_usd"],
            available_usd=entry["left_usd"],
        )

    return await _changed(context, reserve)


@tool(effect="idempotent")
async def release_funds(
    reservation_id: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")], context: ToolContext
) -> Release:
    """Give reserved funds back to the treasury; releasing them again changes nothing."""

    def release(ledger: _Ledger) -> Release:
        entry = ledger.get(reservation_id)
        if entry is None:
            raise ToolFailed(f"there is no reservation {reservation_id}")
        entry["released"] = True
        return Release(reservation_id=reservation_id, released_usd=entry["amount_usd"])

    return await _changed(context, release)


def _reserved(ledger: _Ledger) -> float:
    return math.fsum(entry["amount_usd"] for entry in ledger.values() if not entry["released"])


async def _changed[T](context: ToolContext, change: Callable[[_Ledger], T]) -> T:
    """Apply ``change`` to the ledger by conditional write, again while others get in between."""
    for _ in range(_ATTEMPTS):
        entry = await context.memory.get(LEDGER)
        before: Any = {} if entry is None else entry.value
        ledger = {key: dict(value) for key, value in before.items()}
        outcome = change(ledger)
        after: Json = dict(ledger)
        if after == before:
            return outcome
        if entry is None:
            written = await context.memory.insert(LEDGER, after)
        else:
            written = await context.memory.replace(LEDGER, after, entry.version)
        if written:
            return outcome
        await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 - spreads writers, no secret
    raise ToolFailed("the treasury is busy", retryable=True)
