"""Filters of subscriptions, and those that correlate; sql_filter.py has the SQL ones.

A filter is a function from a message's properties to True, False or None (unknown, as in SQL); a
message matches when it gives True.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

SYSTEM_NAMES = {
    "messageid": "message_id",
    "correlationid": "correlation_id",
    "label": "subject",
    "subject": "subject",
    "to": "to",
    "replyto": "reply_to",
    "sessionid": "group_id",
    "replytosessionid": "reply_to_group_id",
    "contenttype": "content_type",
}


class FilterError(Exception):
    """A SQL expression that cannot be read."""


@dataclass(frozen=True, slots=True)
class Properties:
    """What filters see of a message: the properties section, and the application properties."""

    system: Mapping[str, Any]
    user: Mapping[str, Any]


Evaluate = Callable[[Properties], Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on messages; `text` is SQL, or None for a correlation filter's values."""

    evaluate: Evaluate
    text: str | None = None
    system: Mapping[str, Any] = field(default_factory=dict)
    user: Mapping[str, Any] = field(default_factory=dict)

    def matches(self, properties: Properties) -> bool:
        """Whether the condition is true, not false or unknown."""
        return self.evaluate(properties) is True


def correlation_filter(user: Mapping[str, Any], **system: Any) -> Filter:
    """Every value given must equal the message's; `system` as in the topology (CorrelationId, Label, ...)."""
    named = {SYSTEM_NAMES[name.lower()]: value for name, value in system.items()}

    def evaluate(properties: Properties) -> bool:
        return all(plain(properties.system.get(name)) == value for name, value in named.items()) and all(
            name in properties.user and _same(properties.user[name], value) for name, value in user.items()
        )

    return Filter(evaluate, None, system, user)


MATCH_ALL = Filter(lambda _properties: True, "1=1")


def plain(value: Any) -> Any:
    """A property as filters compare it: ids of any type are text."""
    return value if value is None or isinstance(value, str) else str(value)


def _same(left: Any, right: Any) -> bool:
    return comparable(left, right) and bool(left == right)


def comparable(left: Any, right: Any) -> bool:
    """Whether two values are of types that have something in common."""
    numbers = (int, float)
    if isinstance(left, bool) or isinstance(right, bool):
        return isinstance(left, bool) and isinstance(right, bool)
    if isinstance(left, numbers) and isinstance(right, numbers):
        return True
    return type(left) is type(right) or (isinstance(left, str) and isinstance(right, str))
