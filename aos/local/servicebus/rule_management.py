"""Rules as add-rule sends them and enumerate-rules answers them; the former is also how they are kept."""

from collections.abc import Mapping
from typing import Any

from aos.local.servicebus.amqp_types import Described, Timestamp
from aos.local.servicebus.errors import ArgumentError, NotImplementedByBrokerError
from aos.local.servicebus.filters import Filter, FilterError, Rule, correlation_filter
from aos.local.servicebus.sql_filter import sql_filter

_RULE, _NO_ACTION = 0x13700000004, 0x13700000005
_SQL_FILTER, _CORRELATION_FILTER = 0x1370000006, 0x1370000009
_MAX_NAME = 50
_LONGS = range(-(2**63), 2**63)
# In the order of enumerate-rules: the key of add-rule, and the name in the topology.
_SYSTEM = {
    "correlation-id": "CorrelationId",
    "message-id": "MessageId",
    "to": "To",
    "reply-to": "ReplyTo",
    "label": "Label",
    "session-id": "SessionId",
    "reply-to-session-id": "ReplyToSessionId",
    "content-type": "ContentType",
}


def parse_rule(name: str, description: Mapping[str, Any]) -> Rule:
    """A rule to add. Raises ArgumentError, or NotImplementedByBrokerError for one with an action."""
    if not 0 < len(name) <= _MAX_NAME:
        raise ArgumentError(f"add-rule: a rule's name has 1 to {_MAX_NAME} characters")
    if _part(description, "sql-rule-action").get("expression"):
        raise NotImplementedByBrokerError("add-rule: rule actions are not supported")
    sql, correlation = _part(description, "sql-filter"), description.get("correlation-filter")
    if correlation is not None:
        return Rule(name, _correlation(_part(description, "correlation-filter")))
    return Rule(name, _sql(sql.get("expression")))


def description_of(rule: Rule) -> dict[str, Any]:
    """What `parse_rule` makes the same rule of."""
    if rule.filter.text is not None:
        return {"sql-filter": {"expression": rule.filter.text}}
    system = {key: rule.filter.system.get(name) for key, name in _SYSTEM.items()}
    return {"correlation-filter": {**system, "properties": dict(rule.filter.user)}}


def described(rule: Rule) -> Described:
    """A rule as enumerate-rules answers it."""
    given = rule.filter
    if given.text is not None:
        filter_ = Described(_SQL_FILTER, [given.text, 20])
    else:
        system = [given.system.get(name) for name in _SYSTEM.values()]
        filter_ = Described(_CORRELATION_FILTER, [*system, dict(given.user)])
    return Described(_RULE, [filter_, Described(_NO_ACTION, []), rule.name, Timestamp(0)])


def _part(description: Mapping[str, Any], key: str) -> dict[str, Any]:
    part = description.get(key)
    if part is not None and not isinstance(part, dict):
        raise ArgumentError(f"add-rule: {key!r} must be a map")
    return part or {}


def _sql(expression: Any) -> Filter:
    if not isinstance(expression, str):
        raise ArgumentError("add-rule: a rule needs a SQL expression or a correlation filter")
    try:
        return sql_filter(expression)
    except FilterError as error:
        raise ArgumentError(f"add-rule: {error}") from error


def _correlation(fields: Mapping[str, Any]) -> Filter:
    system = {name: fields.get(key) for key, name in _SYSTEM.items()}
    given = {name: value for name, value in system.items() if value is not None}
    user = _part(fields, "properties")
    if not all(isinstance(value, str) for value in given.values()) or not all(map(_simple, user.values())):
        raise ArgumentError("add-rule: a correlation filter has text, and simple values of properties")
    if not given and not user:
        raise ArgumentError("add-rule: a correlation filter needs a value at least")
    return correlation_filter(user, **given)


def _simple(value: Any) -> bool:
    return value in _LONGS if isinstance(value, int) else isinstance(value, str | float)
