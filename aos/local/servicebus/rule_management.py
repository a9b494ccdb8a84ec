"""Rules as add-rule sends them and enumerate-rules answers them; the former is also how they are kept."""

from collections.abc import Mapping
from typing import Any

from aos.local.servicebus.amqp_types import Described, Timestamp
from aos.local.servicebus.errors import ArgumentError
from aos.local.servicebus.filters import Filter, FilterError, correlation_filter
from aos.local.servicebus.rules import Rule
from aos.local.servicebus.sql_action import Action, sql_action
from aos.local.servicebus.sql_filter import sql_filter

_RULE, _NO_ACTION, _SQL_ACTION = 0x13700000004, 0x13700000005, 0x13700000006
_SQL_FILTER, _CORRELATION_FILTER = 0x1370000006, 0x1370000009
_COMPATIBILITY_LEVEL = 20
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
    """A rule to add. Raises ArgumentError."""
    if not 0 < len(name) <= _MAX_NAME:
        raise ArgumentError(f"add-rule: a rule's name has 1 to {_MAX_NAME} characters")
    action = _action(_part(description, "sql-rule-action").get("expression"))
    sql, correlation = _part(description, "sql-filter"), description.get("correlation-filter")
    if correlation is not None:
        return Rule(name, _correlation(_part(description, "correlation-filter")), action)
    return Rule(name, _sql(sql.get("expression")), action)


def description_of(rule: Rule) -> dict[str, Any]:
    """What `parse_rule` makes the same rule of."""
    action = {} if rule.action is None else {"sql-rule-action": {"expression": rule.action.text}}
    if rule.filter.text is not None:
        return {"sql-filter": {"expression": rule.filter.text}, **action}
    system = {key: rule.filter.system.get(name) for key, name in _SYSTEM.items()}
    return {"correlation-filter": {**system, "properties": dict(rule.filter.user)}, **action}


def described(rule: Rule) -> Described:
    """A rule as enumerate-rules answers it."""
    given = rule.filter
    if given.text is not None:
        filter_ = Described(_SQL_FILTER, [given.text, _COMPATIBILITY_LEVEL])
    else:
        system = [given.system.get(name) for name in _SYSTEM.values()]
        filter_ = Described(_CORRELATION_FILTER, [*system, dict(given.user)])
    action = Described(_NO_ACTION, [])
    if rule.action is not None:
        action = Described(_SQL_ACTION, [rule.action.text, _COMPATIBILITY_LEVEL])
    return Described(_RULE, [filter_, action, rule.name, Timestamp(0)])


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


def _action(expression: Any) -> Action | None:
    if not expression:
        return None
    if not isinstance(expression, str):
        raise ArgumentError("add-rule: an action must be a SQL expression")
    try:
        return sql_action(expression)
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
