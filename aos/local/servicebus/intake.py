"""Taking messages in: all of a send or none, in one transaction, whatever entities they end up in."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from aos.local.servicebus.content import Content
from aos.local.servicebus.errors import BrokerError
from aos.local.servicebus.journal import PUT_SEQUENCE, Journal, Statement


@dataclass(slots=True)
class Intake:
    """Messages on their way in: what to write, and what to do once that is written or refused."""

    statements: list[Statement] = field(default_factory=list)
    accepted: list[Callable[[], None]] = field(default_factory=list)
    refused: list[Callable[[], None]] = field(default_factory=list)
    earlier: list[asyncio.Future[None]] = field(default_factory=list)
    sequence_numbers: list[int] = field(default_factory=list)
    sequences: dict[str, int] = field(default_factory=dict)

    def absorb(self, other: "Intake") -> None:
        """Everything of another one belongs to this one, but for its answer to a sender."""
        self.statements += other.statements
        self.accepted += other.accepted
        self.refused += other.refused
        self.earlier += other.earlier
        self.sequences |= other.sequences

    def written(self) -> list[Statement]:
        """All that is to be written, with the last sequence number of each entity once."""
        return self.statements + [(PUT_SEQUENCE, last) for last in self.sequences.items()]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a forwarded message comes from, and why it is a dead letter, if it is one."""

    sequence_number: int
    dead_letter_source: str | None = None
    dead_letter_reason: str | None = None
    dead_letter_description: str | None = None
    hops: int = 1  # how often it was forwarded


class Destination(Protocol):
    """Where messages can be sent: a queue or a topic."""

    def take_in(
        self, content: Content, intake: Intake, scheduled_ms: int, origin: Origin | None = None
    ) -> None:
        """Add one message to `intake`; one that is forwarded has an origin."""


def accept(
    destination: Destination, contents: Iterable[Content], journal: Journal
) -> "asyncio.Future[list[int]]":
    """Send messages to a queue or topic: all of them or none, in one transaction."""
    intake = Intake()
    result: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
    try:
        for content in contents:
            destination.take_in(content, intake, content.scheduled_ms() or 0)
    except BrokerError as error:
        run(intake.refused)
        result.set_exception(error)
        return result
    done = journal.submit(intake.written())

    def written(done: "asyncio.Future[None]") -> None:
        error = done.exception() or _first_failure(intake.earlier)
        run(intake.accepted if error is None else intake.refused)
        if result.cancelled():  # whoever sends has gone
            return
        if error is None:
            result.set_result(intake.sequence_numbers)
        else:
            result.set_exception(error)

    done.add_done_callback(written)
    return result


def _first_failure(futures: Iterable["asyncio.Future[None]"]) -> BaseException | None:
    return next((each.exception() for each in futures if each.done() and each.exception()), None)


def run(actions: Iterable[Callable[[], None]]) -> None:
    """Do one after the other."""
    for action in actions:
        action()
