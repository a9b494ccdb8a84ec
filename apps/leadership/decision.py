"""What the CEO weighs: worth, speed of return and risk of delivery, in one score.

score = 0.5 worth + 0.2 return + 0.3 delivery, each from 0 to 1:

- worth: the net present value per dollar invested, 0 at -0.5 and 1 at +0.5;
- return: 1 for an immediate payback, falling to 0 at eight years or never;
- delivery: the chance to meet the deadline.

A proposal is approved at a score of 0.6 or more, if it is worth more than it costs and is more likely
than not to be delivered on time. The weights are the owners' choice, written down so that they can be
argued with.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from aos.sdk import tool

WORTH, RETURN, DELIVERY = 0.5, 0.2, 0.3
APPROVAL_SCORE = 0.6
PATIENCE_YEARS = 8.0
EVEN_CHANCE = 0.5


class Weighing(BaseModel):
    """The decision, its score from 0 to 1, and what speaks for and against it."""

    score: float = Field(ge=0, le=1)
    decision: Literal["approve", "reject"]
    reasons: list[str]


@tool(effect="none")
def weigh(
    npv_usd: Annotated[float, Field(description="the net present value")],
    payback_years: Annotated[float | None, Field(ge=0, description="null: never paid back")],
    delivery_risk: Annotated[float, Field(ge=0, le=1, description="the chance to miss the deadline")],
    investment_usd: Annotated[float, Field(gt=0, description="what the project asks for")],
) -> Weighing:
    """Weigh a proposal's worth, speed of return and delivery risk into a score and a decision."""
    worth = _unit(0.5 + npv_usd / investment_usd)
    speed = 0.0 if payback_years is None else _unit(1 - payback_years / PATIENCE_YEARS)
    delivery = 1 - delivery_risk
    score = round(WORTH * worth + RETURN * speed + DELIVERY * delivery, 4)
    vetoes = _vetoes(npv_usd, delivery_risk)
    approved = score >= APPROVAL_SCORE and not vetoes
    payback = "never pays back" if payback_years is None else f"pays back in {payback_years:g} years"
    reasons = [
        f"net present value {npv_usd:,.0f} USD on {investment_usd:,.0f} USD invested: {worth:.2f} of 1",
        f"{payback}: {speed:.2f} of 1",
        f"a chance of {delivery_risk:.0%} to miss the deadline: {delivery:.2f} of 1",
        f"score {score:.2f}, approval from {APPROVAL_SCORE:.2f}",
    ]
    return Weighing(score=score, decision="approve" if approved else "reject", reasons=reasons + vetoes)


def _vetoes(npv_usd: float, delivery_risk: float) -> list[str]:
    vetoes = []
    if npv_usd <= 0:
        vetoes.append("rejected whatever the score: worth no more than it costs")
    if delivery_risk > EVEN_CHANCE:
        vetoes.append("rejected whatever the score: more likely late than on time")
    return vetoes


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))
