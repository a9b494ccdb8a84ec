"""The budget ledger: a limit, what is reserved of it, and what was spent.

Amounts are whole micro-dollars (``micro_usd`` and ``usd`` convert at the edge): sums of floats drift.

Every operation is idempotent by its reservation id, for as long as the ledger remembers the id. A run's
ledger remembers all of them until it is deleted with the run. A ledger that outlives its runs (an
agent's, a tenant's) would grow without bound, and merely forgetting old ids would let a redelivered
``Reserve`` hold money that nobody settles. So ids are forgotten only together with a *floor*: a
reservation carries the time at which it was first asked for, the same in every redelivery, and
``Compact(before)`` forgets the closed ids asked for before that time and refuses from then on
every unknown reservation that is older. A request caught by it asks again under a new id; none is
counted twice. Reservations that are still held are never forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any

from aos.kernel.errors import InvalidInput

_MICRO = 1_000_000


def micro_usd(amount: float | Decimal | str) -> int:
    """Convert dollars to whole micro-dollars, rounding up: a cost is never understated.

    Raises:
        InvalidInput: not a finite number of dollars, or a negative one.
    """
    try:
        value = Decimal(str(amount))
    except InvalidOperation as error:
        raise InvalidInput(f"{amount!r} is not an amount in US dollars") from error
    if not value.is_finite() or value < 0:
        raise InvalidInput(f"{amount!r} is not an amount in US dollars")
    return int((value * _MICRO).to_integral_value(rounding=ROUND_CEILING))


def usd(micro: int) -> float:
    """Convert micro-dollars to dollars, to be shown."""
    return micro / _MICRO


@dataclass(frozen=True, slots=True)
class Reserve:
    """Hold ``amount`` until it is settled or released."""

    id: str
    amount: int
    at: float
    """When it was first asked for, in seconds since the epoch: the same in every redelivery."""


@dataclass(frozen=True, slots=True)
class Settle:
    """What was reserved for has cost ``actual``. One that was released may still be settled: reality wins."""

    id: str
    actual: int


@dataclass(frozen=True, slots=True)
class Release:
    """The thing reserved for will not happen."""

    id: str


@dataclass(frozen=True, slots=True)
class SetLimit:
    """From now on this is the limit; below what is reserved and spent, it refuses all that is new."""

    limit: int


@dataclass(frozen=True, slots=True)
class Compact:
    """Forget closed reservations asked for before this time, and refuse unknown ones that are older."""

    before: float


type Event = Reserve | Settle | Release | SetLimit | Compact


@dataclass(frozen=True, slots=True)
class Reserved:
    """``amount`` is held under ``id``: the first amount asked for under it."""

    id: str
    amount: int


@dataclass(frozen=True, slots=True)
class Refused:
    """More was asked than is left."""

    available: int
    asked: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The reservation was settled or released before, or is older than the floor: nothing is held."""

    id: str


@dataclass(frozen=True, slots=True)
class Settled:
    """``actual`` is counted as spent, once; a repeated settlement gets the first one's figures."""

    id: str
    actual: int
    overrun: int
    """By how much it exceeded its reservation."""


@dataclass(frozen=True, slots=True)
class Released:
    """Nothing is held under ``id``."""

    id: str
    amount: int
    """What this event gave back."""


@dataclass(frozen=True, slots=True)
class NotReserved:
    """The id is not known, so nothing was counted."""

    id: str


@dataclass(frozen=True, slots=True)
class Adjusted:
    """The limit or the memory changed."""

    available: int


type Result = Reserved | Refused | Closed | Settled | Released | NotReserved | Adjusted


@dataclass(frozen=True, slots=True)
class Hold:
    """An open reservation."""

    amount: int
    at: float


@dataclass(frozen=True, slots=True)
class Closure:
    """A reservation that ended: ``spent`` is None when it was released."""

    at: float
    spent: int | None
    overrun: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """The ledger. All amounts are micro-dollars."""

    limit: int
    spent: int = 0
    overrun: int = 0
    """By how much settlements exceeded their reservations, in sum; not 0 flags the ledger."""
    held: Mapping[str, Hold] = field(default_factory=dict)
    closed: Mapping[str, Closure] = field(default_factory=dict)
    floor: float = 0.0
    """Unknown reservations asked for before this time are closed."""

    def __post_init__(self) -> None:
        _check_amount(self.limit)

    @property
    def reserved(self) -> int:
        """The sum of the open reservations."""
        return sum(hold.amount for hold in self.held.values())

    @property
    def available(self) -> int:
        """What a new reservation may take."""
        return max(0, self.limit - self.spent - self.reserved)

    def to_json(self) -> dict[str, Any]:
        """Return the ledger as a JSON object."""
        return {
            "limit": self.limit,
            "spent": self.spent,
            "overrun": self.overrun,
            "held": {id_: [hold.amount, hold.at] for id_, hold in self.held.items()},
            "closed": {id_: [end.at, end.spent, end.overrun] for id_, end in self.closed.items()},
            "floor": self.floor,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Budget:
        """Read what ``to_json`` wrote."""
        held = {id_: Hold(*hold) for id_, hold in value["held"].items()}
        closed = {id_: Closure(*end) for id_, end in value["closed"].items()}
        return Budget(**{**value, "held": held, "closed": closed})


def advance(budget: Budget, event: Event) -> tuple[Budget, Result]:
    """Apply ``event`` to the ledger.

    Raises:
        InvalidInput: an amount that is negative or not whole.
    """
    match event:
        case Reserve():
            return _reserve(budget, event)
        case Settle():
            return _settle(budget, event)
        case Release():
            return _release(budget, event)
        case SetLimit(limit):
            changed = replace(budget, limit=limit)
            return changed, Adjusted(changed.available)
        case Compact(before):
            return _compact(budget, before), Adjusted(budget.available)


def _reserve(budget: Budget, event: Reserve) -> tuple[Budget, Result]:
    _check_amount(event.amount)
    if hold := budget.held.get(event.id):
        return budget, Reserved(event.id, hold.amount)
    if event.id in budget.closed or event.at < budget.floor:
        return budget, Closed(event.id)
    if budget.spent + budget.reserved + event.amount > budget.limit:
        return budget, Refused(budget.available, event.amount)
    held = {**budget.held, event.id: Hold(event.amount, event.at)}
    return replace(budget, held=held), Reserved(event.id, event.amount)


def _settle(budget: Budget, event: Settle) -> tuple[Budget, Result]:
    _check_amount(event.actual)
    end, hold = budget.closed.get(event.id), budget.held.get(event.id)
    if end is not None and end.spent is not None:
        return budget, Settled(event.id, end.spent, end.overrun)
    if hold is not None:
        amount, at = hold.amount, hold.at
    elif end is not None:
        amount, at = 0, end.at
    else:
        return budget, NotReserved(event.id)
    overrun = max(0, event.actual - amount)
    changed = _close(budget, event.id, Closure(at, event.actual, overrun))
    changed = replace(changed, spent=budget.spent + event.actual, overrun=budget.overrun + overrun)
    return changed, Settled(event.id, event.actual, overrun)


def _release(budget: Budget, event: Release) -> tuple[Budget, Result]:
    if hold := budget.held.get(event.id):
        return _close(budget, event.id, Closure(hold.at, None)), Released(event.id, hold.amount)
    if end := budget.closed.get(event.id):
        if end.spent is not None:
            return budget, Settled(event.id, end.spent, end.overrun)
        return budget, Released(event.id, 0)
    return budget, NotReserved(event.id)


def _close(budget: Budget, id_: str, end: Closure) -> Budget:
    held = {other: hold for other, hold in budget.held.items() if other != id_}
    return replace(budget, held=held, closed={**budget.closed, id_: end})


def _compact(budget: Budget, before: float) -> Budget:
    floor = max(budget.floor, before)
    closed = {id_: end for id_, end in budget.closed.items() if end.at >= floor}
    return replace(budget, closed=closed, floor=floor)


def _check_amount(amount: int) -> None:
    if type(amount) is not int or amount < 0:
        raise InvalidInput(f"an amount is a whole number of micro-dollars, 0 or more, not {amount!r}")
