"""SQL expressions, and filters made of them: Service Bus's subset of SQL-92, compiled into closures.

Comparing what is missing or of another type gives None (unknown), and so does everything built on it.
"""

import operator
import uuid
from collections.abc import Callable
from typing import Any

from aos.local.servicebus.filters import (
    SYSTEM_NAMES,
    Evaluate,
    Filter,
    FilterError,
    Properties,
    comparable,
    plain,
)
from aos.local.servicebus.sql_tokens import Tokens

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
}
_FUNCTIONS = ("newid", "p", "property")
_MAX_DEPTH = 32


def sql_filter(text: str) -> Filter:
    """Compile an expression. Raises FilterError, saying where."""
    parser = Parser(text)
    evaluate = parser.disjunction(0)
    parser.expect_end()
    return Filter(evaluate, text)


class Parser(Tokens):
    """Recursive descent; each method compiles one level of precedence into a closure."""

    def disjunction(self, depth: int) -> Evaluate:
        """Take an expression. Raises FilterError."""
        if depth > _MAX_DEPTH:
            raise FilterError(f"the expression nests deeper than {_MAX_DEPTH}")
        left = self._conjunction(depth)
        while self.word("or"):
            left = _either(left, self._conjunction(depth))
        return left

    def _conjunction(self, depth: int) -> Evaluate:
        left = self._negation(depth)
        while self.word("and"):
            left = _both(left, self._negation(depth))
        return left

    def _negation(self, depth: int) -> Evaluate:
        if depth > _MAX_DEPTH:
            raise FilterError(f"the expression nests deeper than {_MAX_DEPTH}")
        return _negated(self._negation(depth + 1)) if self.word("not") else self._predicate(depth)

    def _predicate(self, depth: int) -> Evaluate:
        if self.word("exists"):
            return self._exists()
        left = self._sum(depth)
        for sign, compare in _COMPARE.items():
            if self.sign(sign):
                return _compared(compare, left, self._sum(depth))
        if self.word("is"):
            negative = self.word("not")
            self.need_word("null")
            return _is_null(left, negative)
        negative = self.word("not")
        if self.word("like"):
            test = self._like(left, depth)
        elif self.word("in"):
            test = self._in(left, depth)
        elif negative:
            self.fail("LIKE or IN")
        else:
            return left
        return _negated(test) if negative else test

    def _exists(self) -> Evaluate:
        self.need_sign("(")
        kind, name = self.property_name()
        self.need_sign(")")
        return lambda properties: _lookup(properties, kind, name) is not None

    def _like(self, left: Evaluate, depth: int) -> Evaluate:
        pattern = self._sum(depth)
        escape = self._sum(depth) if self.word("escape") else None
        return _like(left, pattern, escape)

    def _in(self, left: Evaluate, depth: int) -> Evaluate:
        self.need_sign("(")
        choices = [self._sum(depth)]
        while self.sign(","):
            choices.append(self._sum(depth))
        self.need_sign(")")
        test = _compared(operator.eq, left, choices[0])
        for choice in choices[1:]:
            test = _either(test, _compared(operator.eq, left, choice))
        return test

    def _sum(self, depth: int) -> Evaluate:
        left = self._product(depth)
        while sign := self.one_of("+-"):
            left = _calculated(_ARITHMETIC[sign], left, self._product(depth))
        return left

    def _product(self, depth: int) -> Evaluate:
        left = self._unary(depth)
        while sign := self.one_of("*/%"):
            left = _calculated(_ARITHMETIC[sign], left, self._unary(depth))
        return left

    def _unary(self, depth: int) -> Evaluate:
        if depth > _MAX_DEPTH:
            raise FilterError(f"the expression nests deeper than {_MAX_DEPTH}")
        if self.sign("-"):
            return _calculated(operator.sub, _constant(0), self._unary(depth + 1))
        if self.sign("+"):
            return self._unary(depth + 1)
        if self.sign("("):
            inner = self.disjunction(depth + 1)
            self.need_sign(")")
            return inner
        return self._operand(depth)

    def _operand(self, depth: int) -> Evaluate:
        kind, text, _ = self.peek()
        if kind == "number":
            self.advance()
            return _constant(int(text) if text.isdecimal() else float(text))
        if kind == "string":
            self.advance()
            return _constant(text.replace("''", "'"))
        constants = {"true": True, "false": False, "null": None}
        if kind == "word" and text.lower() in constants:
            self.advance()
            return _constant(constants[text.lower()])
        scope, name = self.property_name()
        if scope == "user" and name.lower() in _FUNCTIONS and self.sign("("):
            return self._function(name.lower(), depth + 1)
        return lambda properties: _lookup(properties, scope, name)

    def _function(self, name: str, depth: int) -> Evaluate:
        if name == "newid":
            self.need_sign(")")
            return lambda _properties: str(uuid.uuid4())
        argument = self._sum(depth)
        self.need_sign(")")
        return lambda properties: _lookup(properties, "user", str(argument(properties)))


def _lookup(properties: Properties, scope: str, name: str) -> Any:
    if scope == "sys":
        return plain(properties.system.get(SYSTEM_NAMES[name.lower()]))
    return properties.user.get(name)


def _constant(value: Any) -> Evaluate:
    return lambda _properties: value


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _either(left: Evaluate, right: Evaluate) -> Evaluate:
    def evaluate(properties: Properties) -> bool | None:
        values = (_truth(left(properties)), _truth(right(properties)))
        return True if True in values else (None if None in values else False)

    return evaluate


def _both(left: Evaluate, right: Evaluate) -> Evaluate:
    def evaluate(properties: Properties) -> bool | None:
        values = (_truth(left(properties)), _truth(right(properties)))
        return False if False in values else (None if None in values else True)

    return evaluate


def _negated(inner: Evaluate) -> Evaluate:
    def evaluate(properties: Properties) -> bool | None:
        value = _truth(inner(properties))
        return None if value is None else not value

    return evaluate


def _compared(compare: Callable[[Any, Any], bool], left: Evaluate, right: Evaluate) -> Evaluate:
    def evaluate(properties: Properties) -> bool | None:
        first, second = left(properties), right(properties)
        if first is None or second is None or not comparable(first, second):
            return None
        try:
            return compare(first, second)
        except TypeError:  # equal types without an order, such as two maps
            return None

    return evaluate


def _calculated(calculate: Callable[[Any, Any], Any], left: Evaluate, right: Evaluate) -> Evaluate:
    def evaluate(properties: Properties) -> Any:
        first, second = left(properties), right(properties)
        try:
            return calculate(first, second) if comparable(first, second) else None
        except (TypeError, ArithmeticError):
            return None

    return evaluate


def _is_null(left: Evaluate, negative: bool) -> Evaluate:
    return lambda properties: (left(properties) is None) is not negative


def _like(left: Evaluate, pattern: Evaluate, escape: Evaluate | None) -> Evaluate:
    def evaluate(properties: Properties) -> bool | None:
        value, shape = left(properties), pattern(properties)
        mark = None if escape is None else escape(properties)
        if not isinstance(value, str) or not isinstance(shape, str):
            return None
        return _like_matches(value, shape, mark if isinstance(mark, str) else None)

    return evaluate


def _like_matches(value: str, pattern: str, escape: str | None) -> bool:
    """LIKE without a regular expression, whose backtracking a pattern could abuse."""
    symbols: list[tuple[bool, str]] = []  # (is a wildcard, the character)
    literal = False
    for character in pattern:
        if not literal and character == escape:
            literal = True
            continue
        symbols.append((not literal and character in "%_", character))
        literal = False
    states = {0}
    for character in [*value, None]:
        for start in sorted(states):
            after = start
            while after < len(symbols) and symbols[after] == (True, "%"):
                after += 1
                states.add(after)
        if character is None:
            break
        states = {
            index if symbols[index] == (True, "%") else index + 1
            for index in states
            if index < len(symbols) and (symbols[index][0] or symbols[index][1] == character)
        }
    return len(symbols) in states
