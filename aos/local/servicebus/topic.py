"""Topics: a message goes to every subscription with a rule that it matches."""

from collections.abc import Iterable

from aos.local.servicebus.content import Content
from aos.local.servicebus.decoding import decode
from aos.local.servicebus.encoding import encode
from aos.local.servicebus.errors import (
    BrokerError,
    DatabaseError,
    EntityExistsError,
    EntityNotFoundError,
    MessageTooLargeError,
)
from aos.local.servicebus.filters import Properties
from aos.local.servicebus.intake import Intake, Origin
from aos.local.servicebus.journal import PUT_RULE, Journal, then
from aos.local.servicebus.message import dead_letter_properties
from aos.local.servicebus.queues import Queue
from aos.local.servicebus.rule_management import description_of, parse_rule
from aos.local.servicebus.rules import DEFAULT_RULE, Rule


class Subscription:
    """The queue of a subscription, and the rules by which messages come into it.

    The rules are those of the topology (if it has none, one that all match), as changed since.
    """

    def __init__(self, queue: Queue, rules: tuple[Rule, ...], journal: Journal) -> None:
        self.queue = queue
        self._journal = journal
        self._rules = {rule.name.lower(): rule for rule in rules or (DEFAULT_RULE,)}
        rows = journal.rows("SELECT name, description FROM rules WHERE entity=?", queue.name.lower())
        for name, description in rows:
            self._rules.pop(name, None)
            if description is not None:
                self._rules[name] = _kept_rule(description)

    @property
    def rules(self) -> list[Rule]:
        """The rules, by name."""
        return [self._rules[key] for key in sorted(self._rules)]

    def take_in(
        self, content: Content, properties: Properties, intake: Intake, origin: Origin | None
    ) -> None:
        """Add one copy for all rules without an action that match, and one for each with an action."""
        if not self.queue.settings.status.sends:
            return
        matching = [rule for rule in self._rules.values() if rule.filter.matches(properties)]
        if any(rule.action is None for rule in matching):
            self.queue.take_in(content, intake, 0, origin)
        for rule in matching:
            if rule.action is None:
                continue
            try:
                changed = rule.copy(content, properties)
            except MessageTooLargeError as error:
                self.queue.take_in_dead(content, intake, origin, error)
            else:
                self.queue.take_in(changed, intake, 0, origin)

    async def add(self, rule: Rule) -> None:
        """Add a rule for good. Raises EntityExistsError."""
        if rule.name.lower() in self._rules:
            raise EntityExistsError(f"{self.queue.name} has a rule {rule.name!r} already")
        await self._put(rule.name, rule)

    async def remove(self, name: str) -> None:
        """Remove a rule for good. Raises EntityNotFoundError."""
        if name.lower() not in self._rules:
            raise EntityNotFoundError(f"{self.queue.name} has no rule {name!r}")
        await self._put(name, None)

    async def _put(self, name: str, rule: Rule | None) -> None:
        key = name.lower()
        description = None if rule is None else encode({"name": rule.name, **description_of(rule)})

        def written(error: BrokerError | None) -> None:
            if error is None:
                self._rules.pop(key, None)
                if rule is not None:
                    self._rules[key] = rule

        await then(self._journal.submit([(PUT_RULE, (self.queue.name.lower(), key, description))]), written)


def _kept_rule(description: bytes) -> Rule:
    try:
        fields = decode(description)[0]
        return parse_rule(fields["name"], fields)
    except (BrokerError, LookupError, TypeError) as error:
        raise DatabaseError(f"a rule in the database is damaged: {error}") from error


class Fanout:
    """The destination behind a topic; a scheduled message comes here when its time has come."""

    def __init__(self, subscriptions: Iterable[Subscription]) -> None:
        self._subscriptions = tuple(subscriptions)

    def take_in(
        self, content: Content, intake: Intake, scheduled_ms: int, origin: Origin | None = None
    ) -> None:
        """Add the copies that the subscriptions want of the message."""
        application = content.application_properties()
        if origin is not None:
            application |= dead_letter_properties(origin.dead_letter_reason, origin.dead_letter_description)
        properties = Properties(content.property_fields(), application)
        taken = len(intake.sequence_numbers)
        for subscription in self._subscriptions:
            subscription.take_in(content, properties, intake, origin)
        intake.sequence_numbers[taken:] = [0 if origin is None else origin.sequence_number]
