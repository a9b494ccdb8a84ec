"""Rules of subscriptions: a named filter, and what it changes in the messages that it matches."""

from dataclasses import dataclass

from aos.local.servicebus.content import Content
from aos.local.servicebus.filters import MATCH_ALL, Filter, Properties
from aos.local.servicebus.sql_action import Action

_RULE_NAME = "RuleName"


@dataclass(frozen=True, slots=True)
class Rule:
    """A filter, and perhaps an action."""

    name: str
    filter: Filter
    action: Action | None = None

    def copy(self, content: Content, properties: Properties) -> Content:
        """The message as its action changes it, with the rule's name. Raises MessageTooLargeError."""
        if self.action is None:
            return content
        changes = self.action.changes(properties)
        if changes.system:
            content = content.with_properties(changes.system)
        return content.with_application_properties({**changes.user, _RULE_NAME: self.name}, changes.removed)


DEFAULT_RULE = Rule("$Default", MATCH_ALL)
