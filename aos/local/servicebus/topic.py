"""Topics: a message goes to every subscription with a rule that it matches."""

from collections.abc import Iterable
from dataclasses import dataclass

from aos.local.servicebus.filters import MATCH_ALL, Properties, Rule
from aos.local.servicebus.intake import Intake, Origin
from aos.local.servicebus.message import Content, dead_letter_properties
from aos.local.servicebus.queues import Queue


@dataclass(frozen=True, slots=True)
class Subscription:
    """The queue of a subscription, and the rules by which messages come into it (none: all come)."""

    queue: Queue
    rules: tuple[Rule, ...]

    def wants(self, properties: Properties) -> bool:
        """Whether a rule matches."""
        filters = [rule.filter for rule in self.rules] or [MATCH_ALL]
        return any(each.matches(properties) for each in filters)


class Fanout:
    """The destination behind a topic; a scheduled message comes here when its time has come."""

    def __init__(self, subscriptions: Iterable[Subscription]) -> None:
        self._subscriptions = tuple(subscriptions)

    def take_in(
        self, content: Content, intake: Intake, scheduled_ms: int, origin: Origin | None = None
    ) -> None:
        """Add one copy for each subscription that wants the message."""
        application = content.application_properties()
        if origin is not None:
            application |= dead_letter_properties(origin.dead_letter_reason, origin.dead_letter_description)
        properties = Properties(content.property_fields(), application)
        taken = len(intake.sequence_numbers)
        for subscription in self._subscriptions:
            if subscription.wants(properties):
                subscription.queue.take_in(content, intake, scheduled_ms, origin)
        intake.sequence_numbers[taken:] = [0 if origin is None else origin.sequence_number]
