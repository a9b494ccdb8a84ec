"""Dead-lettering: why a message is set apart for good, and what is written about it."""

from dataclasses import dataclass
from typing import Self

from aos.local.servicebus.errors import BrokerError
from aos.local.servicebus.journal import Statement
from aos.local.servicebus.message import Message, State
from aos.local.servicebus.rows import updated

DEAD_LETTER_SUFFIX = "/$DeadLetterQueue"
TRANSFER_DEAD_LETTER_SUFFIX = "/$Transfer/$DeadLetterQueue"


@dataclass(frozen=True, slots=True)
class DeadLettering:
    """The move of a message to a dead-letter sub-queue. `reason` and `description` may be a receiver's."""

    source: str  # the entity that it comes from
    reason: str | None
    description: str | None

    @classmethod
    def expired(cls, source: str) -> Self:
        """The message's time to live is over."""
        return cls(source, "TTLExpiredException", "The message expired and was dead lettered.")

    @classmethod
    def undeliverable(cls, source: str, attempts: int) -> Self:
        """The message was delivered as often as its entity allows."""
        description = f"Message could not be consumed after {attempts} delivery attempts."
        return cls(source, "MaxDeliveryCountExceeded", description)

    @classmethod
    def untransferable(cls, source: str, error: BrokerError) -> Self:
        """The entity that the message is forwarded to did not take it."""
        return cls(source, error.reason, error.description)

    def row(self, target: str, message: Message) -> Statement:
        """The statement that moves the message to the entity `target`."""
        return updated(
            target,
            message,
            state=State.ACTIVE,
            lock_token=None,
            dead_letter_source=self.source,
            dead_letter_reason=self.reason,
            dead_letter_description=self.description,
        )

    def mark(self, message: Message) -> None:
        """The row is written: the message says the same."""
        message.state, message.lock_token = State.ACTIVE, None
        message.dead_letter_source = self.source
        message.dead_letter_reason = self.reason
        message.dead_letter_description = self.description
