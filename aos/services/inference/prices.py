"""What a call costs, in USD.

List prices change, and an Azure deployment may have any name: a configured price goes before the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from types import MappingProxyType

from aos.kernel.errors import InvalidSetting
from aos.services.inference.messages import Usage

AS_OF = date(2026, 3, 21)
"""When the table below was right, as far as published lists show."""

SOURCE = (
    "OpenAI's list prices for the standard tier, USD per million tokens, without the discounts for "
    "cached input and batches; `mock` has a notional price, so that budgets can be seen at work"
)

_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens."""

    input_usd: Decimal
    output_usd: Decimal

    def of(self, usage: Usage) -> Decimal:
        """Return what this usage costs, in USD, exactly."""
        return (self.input_usd * usage.input_tokens + self.output_usd * usage.output_tokens) / _MILLION


def _price(input_usd: str, output_usd: str) -> Price:
    return Price(Decimal(input_usd), Decimal(output_usd))


PRICES: Mapping[str, Price] = MappingProxyType(
    {
        "gpt-4o": _price("2.50", "10.00"),
        "gpt-4o-2024-05-13": _price("5.00", "15.00"),
        "gpt-4o-mini": _price("0.15", "0.60"),
        "gpt-4.1": _price("2.00", "8.00"),
        "gpt-4.1-mini": _price("0.40", "1.60"),
        "gpt-4.1-nano": _price("0.10", "0.40"),
        "o4-mini": _price("1.10", "4.40"),
        "gpt-5": _price("1.25", "10.00"),
        "gpt-5-mini": _price("0.25", "2.00"),
        "gpt-5-nano": _price("0.05", "0.40"),
        "gpt-5.1": _price("1.25", "10.00"),
        "gpt-5.4": _price("2.50", "15.00"),
        "mock": _price("1.00", "4.00"),
    }
)


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices by model; ``override`` is the configured price, and then the price of every model."""

    override: Price | None = None
    prices: Mapping[str, Price] = PRICES

    def price(self, model: str) -> Price:
        """Return a model's price; a dated snapshot without its own has its model's.

        Raises:
            InvalidSetting: no price is known.
        """
        if self.override is not None:
            return self.override
        found = self.prices.get(model) or self.prices.get(_SNAPSHOT.sub("", model))
        if found is None:
            raise InvalidSetting(
                f"no price is known for the model {model!r}: set AOS_MODEL_PRICE_INPUT and "
                "AOS_MODEL_PRICE_OUTPUT, in USD per million tokens",
                model=model,
            )
        return found

    def cost(self, model: str, usage: Usage) -> Decimal:
        """Return what a reply cost, in USD; discounts that the provider may give are not counted."""
        return self.price(model).of(usage)

    def worst_case(self, model: str, input_tokens: int, max_output_tokens: int) -> Decimal:
        """Return the most that a call can cost, in USD, for its reservation."""
        return self.price(model).of(Usage(input_tokens, max_output_tokens))


def make_price_table(input_usd: float | Decimal | None, output_usd: float | Decimal | None) -> PriceTable:
    """Build the table from the settings AOS_MODEL_PRICE_INPUT and AOS_MODEL_PRICE_OUTPUT.

    Raises:
        InvalidSetting: only one of them is set, or one is no price.
    """
    if input_usd is None and output_usd is None:
        return PriceTable()
    return PriceTable(
        Price(
            _configured("AOS_MODEL_PRICE_INPUT", input_usd), _configured("AOS_MODEL_PRICE_OUTPUT", output_usd)
        )
    )


def _configured(setting: str, usd: float | Decimal | None) -> Decimal:
    if usd is None:
        raise InvalidSetting(f"{setting} is missing: a model's price is set for input and output together")
    price = Decimal(str(usd))
    if not price.is_finite() or price < 0:
        raise InvalidSetting(f"{setting} must be USD per million tokens, 0 or more; got {usd}")
    return price
