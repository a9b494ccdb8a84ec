"""SQL filters: Service Bus's subset of SQL-92 conditions, compiled into closures.

Comparing what is missing or of another type gives None (unknown), and so does everything built on it.
"""

import operator
import re
from collections.abc import Callable
from typing import Any, NoReturn

from aos.local.servicebus.filters import (
    SYSTEM_NAMES,
    Evaluate,
    Filter,
    FilterError,
    Properties,
    comparable,
    plain,
)

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | [Nn]?'(?P<string>(?:[^']|'')*)'
    | \[(?P<bracket>(?:[^\]]|\]\])+)\]
    | "(?P<quoted>(?:[^"]|"")+)"
    | (?P<word>[A-Za-z_@][A-Za-z0-9_]*)
    | (?P<sign><>|!=|<=|>=|[=<>()+\-*/%,.])
    )""",
    re.VERBOSE,
)
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
_MAX_DEPTH = 32


def sql_filter(text: str) -> Filter:
    """Compile an expression. Raises FilterError, saying where."""
    parser = _Parser(text)
    evaluate = parser.disjunction(0)
    parser.expect_end()
    return Filter(evaluate, text)


class _Parser:
    """Recursive descent; each method compiles one level of precedence into a closure."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokenize(text)
        self._index = 0

    def expect_end(self) -> None:
        if self._index < len(self._tokens):
            self._fail("the end")

    def disjunction(self, depth: int) -> Evaluate:
        if depth > _MAX_DEPTH:
            raise FilterError(f"the expression nests deeper than {_MAX_DEPTH}")
        left = self._conjunction(depth)
        while self._word("or"):
            left = _either(left, self._conjunction(depth))
        return left

    def _conjunction(self, depth: int) -> Evaluate:
        left = self._negation(depth)
        while self._word("and"):
            left = _both(left, self._negation(depth))
        return left

    def _negation(self, depth: int) -> Evaluate:
        if depth > _MAX_DEPTH:
            raise FilterError(f"the expression nests deeper than {_MAX_DEPTH}")
        return _negated(self._negation(depth + 1)) if self._word("not") else self._predicate(depth)

    def _predicate(self, depth: int) -> Evaluate:
        if self._word("exists"):
            return self._exists()
        left = self._sum(depth)
        for sign, compare in _COMPARE.items():
            if self._sign(sign):
                return _compared(compare, left, self._sum(depth))
        if self._word("is"):
            negative = self._word("not")
            self._need_word("null")
            return _is_null(left, negative)
        negative = self._word("not")
        if self._word("like"):
            test = self._like(left, depth)
        elif self._word("in"):
            test = self._in(left, depth)
        elif negative:
            self._fail("LIKE or IN")
        else:
            return left
        return _negated(test) if negative else test

    def _exists(self) -> Evaluate:
        self._need_sign("(")
        kind, name = self._property_name()
        self._need_sign(")")
        return lambda properties: _lookup(properties, kind, name) is not None

    def _like(self, left: Evaluate, depth: int) -> Evaluate:
        pattern = self._sum(depth)
        escape = self._sum(depth) if self._word("escape") else None
        return _like(left, pattern, escape)

    def _in(self, left: Evaluate, depth: int) -> Evaluate:
        self._need_sign("(")
        choices = [self._sum(depth)]
        while self._sign(","):
            choices.append(self._sum(depth))
        self._need_sign(")")
        test = _compared(operator.eq, left, choices[0])
        for choice in choices[1:]:
            test = _either(test, _compared(operator.eq, left, choice))
        return test

    def _sum(self, depth: int) -> Evaluate:
        left = self._product(depth)
        while sign := self._one_of("+-"):
            left = _calculated(_ARITHMETIC[sign], left, self._product(depth))
        return left

    def _product(self, depth: int) -> Evaluate:
        left = self._unary(depth)
        while sign := self._one_of("*/%"):
            left = _calculated(_ARITHMETIC[sign], left, self._unary(depth))
        return left

    def _unary(self, depth: int) -> Evaluate:
        if depth > _MAX_DEPTH:
            raise FilterError(f"the expression nests deeper than {_MAX_DEPTH}")
        if self._sign("-"):
            return _calculated(operator.sub, _constant(0), self._unary(depth + 1))
        if self._sign("+"):
            return self._unary(depth + 1)
        if self._sign("("):
            inner = self.disjunction(depth + 1)
            self._need_sign(")")
            return inner
        return self._operand()

    def _operand(self) -> Evaluate:
        kind, text, _ = self._peek()
        if kind == "number":
            self._index += 1
            return _constant(int(text) if text.isdecimal() else float(text))
        if kind == "string":
            self._index += 1
            return _constant(text.replace("''", "'"))
        constants = {"true": True, "false": False, "null": None}
        if kind == "word" and text.lower() in constants:
            self._index += 1
            return _constant(constants[text.lower()])
        scope, name = self._property_name()
        return lambda properties: _lookup(properties, scope, name)

    def _property_name(self) -> tuple[str, str]:
        name = self._name()
        if name.lower() in ("sys", "user") and self._sign("."):
            scope, name = name.lower(), self._name()
            if scope == "sys" and name.lower() not in SYSTEM_NAMES:
                raise FilterError(f"there is no system property sys.{name}")
            return scope, name
        return "user", name

    def _name(self) -> str:
        kind, text, _ = self._peek()
        if kind not in ("word", "bracket", "quoted"):
            self._fail("a property")
        self._index += 1
        return text.replace("]]", "]") if kind == "bracket" else text.replace('""', '"')

    def _peek(self) -> tuple[str, str, int]:
        return self._tokens[self._index] if self._index < len(self._tokens) else ("end", "", -1)

    def _word(self, word: str) -> bool:
        kind, text, _ = self._peek()
        found = kind == "word" and text.lower() == word
        self._index += found
        return found

    def _sign(self, sign: str) -> bool:
        found = self._peek()[:2] == ("sign", sign)
        self._index += found
        return found

    def _one_of(self, signs: str) -> str:
        return next((sign for sign in signs if self._sign(sign)), "")

    def _need_sign(self, sign: str) -> None:
        if not self._sign(sign):
            self._fail(repr(sign))

    def _need_word(self, word: str) -> None:
        if not self._word(word):
            self._fail(word.upper())

    def _fail(self, wanted: str) -> NoReturn:
        _, text, position = self._peek()
        where = "at the end" if position < 0 else f"at character {position + 1}, before {text!r}"
        raise FilterError(f"expected {wanted} {where}")


def _tokenize(text: str) -> list[tuple[str, str, int]]:
    tokens = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            start = position + len(text[position:]) - len(text[position:].lstrip())
            raise FilterError(f"cannot read {text[start:end][:20]!r} at character {start + 1}")
        tokens.append((match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
        position = match.end()
    return tokens


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
