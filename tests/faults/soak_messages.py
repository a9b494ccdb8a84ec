"""What must hold for the messages of a soak, once it is over.

Each check yields what it finds violated, one line each.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from soak_ledger import Ledger
from soak_plan import Plan

_COPIES = ("news/archive", "news/feed", "piles")
"""Where a message to the topic must come besides to the jobs; into the last by an output, without its id."""
_DEAD = "/$DeadLetterQueue"
_REASONS = {"poison": "MaxDeliveryCountExceeded", "orders": "refused"}
_MOST_DELIVERIES_OF_POISON = 3

type Delivery = tuple[str, str]  # the queue, the message's id


def sent(plan: Plan) -> Iterator[Delivery]:
    """Every message, once for each queue that it must have come to."""
    for work in plan.of("orders", "tickets"):
        yield from ((work.kind, f"{work.id}/{number}") for number in range(len(work.given)))
    for work in plan.of("job"):
        yield "jobs", work.id
        if work.given["topic"]:
            yield from ((queue, work.id) for queue in _COPIES)
    for work in plan.of("poison"):
        yield "poison", work.id


def dead(plan: Plan) -> Iterator[Delivery]:
    """What must lie in a dead-letter queue."""
    yield from (("poison", work.id) for work in plan.of("poison"))
    for work in plan.of("orders"):
        yield from (("orders", f"{work.id}/{n}") for n, refused in enumerate(work.given) if refused)


class MessageJudge:
    """The messages that are left (entity, id, reason for being dead), and what became of the others."""

    def __init__(self, left: list[tuple[str, str, str | None]], plan: Plan, ledger: Ledger) -> None:
        self._left = left
        self._plan = plan
        self._ledger = ledger
        self._seen = {
            event: Counter[Delivery](
                ledger.rows("SELECT queue, message FROM deliveries WHERE event=?", event)
            )
            for event in ("taken", "handled")
        }

    def violations(self) -> Iterator[str]:
        """Everything that is wrong."""
        for check in (self._rest, self._deliveries, self._settlements, self._sessions):
            yield from check()

    def _rest(self) -> Iterator[str]:
        """Each queue is empty, each dead-letter queue holds what it must, once."""
        found = Counter[Delivery]()
        for entity, message, reason in self._left:
            queue = entity.removesuffix(_DEAD)
            if queue == entity:
                yield f"{message} is left in {entity}"
                continue
            found[queue, message] += 1
            if reason != _REASONS.get(queue):
                yield f"{message} is dead-lettered in {queue} because of {reason}"
        expected = set(dead(self._plan))
        for queue, message in expected ^ found.keys():
            no = "not " if (queue, message) in expected else ""
            yield f"{message} is {no}in the dead-letter queue of {queue}"
        for (queue, message), times in found.items():
            if times > 1:
                yield f"{message} is {times} times in the dead-letter queue of {queue}"

    def _deliveries(self) -> Iterator[str]:
        """What came to a queue was handled before it went, and came there once."""
        for delivery in sent(self._plan):
            queue, message = delivery
            taken = self._seen["taken"][delivery]
            if not taken:
                yield f"{message} of {queue} was never delivered"
            elif queue == "poison":
                if taken > _MOST_DELIVERIES_OF_POISON:
                    yield f"{message} was delivered {taken} times, not {_MOST_DELIVERIES_OF_POISON} at most"
            elif not self._seen["handled"][delivery]:
                yield f"{message} of {queue} was delivered, and lost before it was handled"
        for queue, message, times in self._ledger.rows(
            "SELECT queue, message, count(DISTINCT sequence) AS n FROM deliveries WHERE queue != 'piles'"
            " GROUP BY queue, message HAVING n > 1"
        ):
            yield f"{message} was in {queue} {times} times"

    def _settlements(self) -> Iterator[str]:
        """What was settled, as its consumer was told, was not delivered after that."""
        for queue, message in self._ledger.rows(
            "SELECT DISTINCT queue, message FROM deliveries AS settled JOIN deliveries AS taken"
            " USING (queue, message, sequence) WHERE settled.event='settled' AND taken.event='taken'"
            " AND taken.delivery > settled.delivery"
        ):
            yield f"{message} of {queue} came again after it was settled"

    def _sessions(self) -> Iterator[str]:
        """In each session the messages come in order."""
        first: dict[str, list[str]] = defaultdict(list)
        for session, message in self._ledger.rows(
            "SELECT session, message FROM deliveries WHERE session IS NOT NULL AND event='taken'"
            " ORDER BY number"
        ):
            if message not in first[session]:
                first[session].append(message)
        for work in self._plan.of("orders", "tickets"):
            if first[work.id] != [f"{work.id}/{number}" for number in range(len(work.given))]:
                yield f"session {work.id} was handled in the order {first[work.id]}"
