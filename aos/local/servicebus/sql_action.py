"""SQL actions: what a rule changes in the copies of the messages that it matches.

SET and REMOVE statements, separated by commas or semicolons. All expressions see the message as it was
changed by the statements before them; one that gives nothing (unknown) sets null.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aos.local.servicebus.filters import SYSTEM_NAMES, FilterError, Properties
from aos.local.servicebus.sql_filter import Parser

_LONGS = range(-(2**63), 2**63)


@dataclass(slots=True)
class Changes:
    """New values of properties by name, as AMQP names them; None takes a property away."""

    system: dict[str, str | None] = field(default_factory=dict)
    user: dict[str, Any] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)


Statement = Callable[[Properties, Changes], None]


@dataclass(frozen=True, slots=True)
class Action:
    """Changes to a message; `text` is SQL."""

    text: str
    statements: tuple[Statement, ...]

    def changes(self, properties: Properties) -> Changes:
        """What it changes in a message with these properties."""
        changes = Changes()
        for statement in self.statements:
            statement(_changed(properties, changes), changes)
        return changes


def sql_action(text: str) -> Action:
    """Compile an action. Raises FilterError, saying where."""
    parser = Parser(text)
    statements = [_statement(parser)]
    while _separated(parser):
        statements.append(_statement(parser))
    parser.expect_end()
    return Action(text, tuple(statements))


def _separated(parser: Parser) -> bool:
    return bool(parser.one_of(",;")) and parser.peek()[0] != "end"


def _statement(parser: Parser) -> Statement:
    if parser.word("set"):
        return _set(parser)
    if not parser.word("remove"):
        parser.fail("SET or REMOVE")
    return _remove(parser)


def _set(parser: Parser) -> Statement:
    scope, name = parser.property_name()
    parser.need_sign("=")
    expression = parser.disjunction(0)

    def assign(properties: Properties, changes: Changes) -> None:
        value = expression(properties)
        if scope == "sys":
            changes.system[SYSTEM_NAMES[name.lower()]] = None if value is None else _text(value)
        else:
            changes.user[name] = value if not isinstance(value, int) or value in _LONGS else None
            changes.removed.discard(name)

    return assign


def _remove(parser: Parser) -> Statement:
    scope, name = parser.property_name()
    if scope == "sys":
        raise FilterError(f"REMOVE takes an application property, not sys.{name}")

    def remove(_properties: Properties, changes: Changes) -> None:
        changes.user.pop(name, None)
        changes.removed.add(name)

    return remove


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _changed(properties: Properties, changes: Changes) -> Properties:
    user: Mapping[str, Any] = {
        name: value for name, value in properties.user.items() if name not in changes.removed
    }
    return Properties({**properties.system, **changes.system}, {**user, **changes.user})
