"""What the CFO computes: the worth of a project's cash flows, and when they pay it back."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from aos.sdk import ToolFailed, tool

CashFlows = Annotated[
    list[Annotated[float, Field(ge=-1e13, le=1e13)]],
    Field(
        min_length=2,
        max_length=100,
        description="USD at the end of each year, beginning with year 0: the investment, negative",
    ),
]
DiscountRate = Annotated[
    float, Field(gt=-1, le=10, description="the cost of capital per year, as a fraction: 0.1 is 10%")
]


class PresentValue(BaseModel):
    """The net present value, in USD of year 0, rounded to cents."""

    npv_usd: float


class Payback(BaseModel):
    """When the cash flows have paid the investment back; None: never."""

    payback_years: float | None


@tool(effect="none")
def net_present_value(cash_flows: CashFlows, discount_rate: DiscountRate) -> PresentValue:
    """Compute the net present value of yearly cash flows: each is discounted by its year's distance."""
    try:
        npv = sum(flow / (1 + discount_rate) ** year for year, flow in enumerate(cash_flows))
    except (OverflowError, ZeroDivisionError) as error:
        raise ToolFailed("the present value is beyond what can be computed") from error
    if not abs(npv) < float("inf"):
        raise ToolFailed("the present value is beyond what can be computed")
    return PresentValue(npv_usd=round(npv, 2))


@tool(effect="none")
def payback_period(cash_flows: CashFlows) -> Payback:
    """Compute the years until the undiscounted cash flows have paid back the investment, for good.

    Within the year of payback the flow is taken to come evenly. A later loss that brings the sum
    below zero again puts the payback off; flows that end below zero never pay back.
    """
    balance, payback = 0.0, 0.0 if cash_flows[0] >= 0 else None
    for year, flow in enumerate(cash_flows):
        before, balance = balance, balance + flow
        if balance < 0:
            payback = None
        elif payback is None:
            payback = year - 1 + -before / flow
    return Payback(payback_years=None if payback is None else round(payback, 2))
