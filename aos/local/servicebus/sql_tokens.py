"""The tokens of SQL filters and actions, and a cursor on them."""

import re
from typing import NoReturn

from aos.local.servicebus.filters import SYSTEM_NAMES, FilterError

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | [Nn]?'(?P<string>(?:[^']|'')*)'
    | \[(?P<bracket>(?:[^\]]|\]\])+)\]
    | "(?P<quoted>(?:[^"]|"")+)"
    | (?P<word>[A-Za-z_@][A-Za-z0-9_]*)
    | (?P<sign><>|!=|<=|>=|[=<>()+\-*/%,.;])
    )""",
    re.VERBOSE,
)


class Tokens:
    """The tokens of a text, taken one after the other. Raises FilterError, saying where."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokenize(text)
        self._index = 0

    def expect_end(self) -> None:
        """Raises FilterError unless all tokens are taken."""
        if self._index < len(self._tokens):
            self.fail("the end")

    def advance(self) -> None:
        """Take the next token."""
        self._index += 1

    def peek(self) -> tuple[str, str, int]:
        """The next token: its kind, text and position; ("end", "", -1) after the last."""
        return self._tokens[self._index] if self._index < len(self._tokens) else ("end", "", -1)

    def word(self, word: str) -> bool:
        """Take this keyword, if it comes next."""
        kind, text, _ = self.peek()
        found = kind == "word" and text.lower() == word
        self._index += found
        return found

    def sign(self, sign: str) -> bool:
        """Take this sign, if it comes next."""
        found = self.peek()[:2] == ("sign", sign)
        self._index += found
        return found

    def one_of(self, signs: str) -> str:
        """Take one of these signs, if one comes next; "" if none does."""
        return next((sign for sign in signs if self.sign(sign)), "")

    def need_sign(self, sign: str) -> None:
        """Take this sign. Raises FilterError."""
        if not self.sign(sign):
            self.fail(repr(sign))

    def need_word(self, word: str) -> None:
        """Take this keyword. Raises FilterError."""
        if not self.word(word):
            self.fail(word.upper())

    def fail(self, wanted: str) -> NoReturn:
        """What is wanted does not come next."""
        _, text, position = self.peek()
        where = "at the end" if position < 0 else f"at character {position + 1}, before {text!r}"
        raise FilterError(f"expected {wanted} {where}")

    def name(self) -> str:
        """Take a name, quoted or not. Raises FilterError."""
        kind, text, _ = self.peek()
        if kind not in ("word", "bracket", "quoted"):
            self.fail("a property")
        self.advance()
        return text.replace("]]", "]") if kind == "bracket" else text.replace('""', '"')

    def property_name(self) -> tuple[str, str]:
        """Take the name of a property, with its scope: "sys" or "user". Raises FilterError."""
        name = self.name()
        if name.lower() in ("sys", "user") and self.sign("."):
            scope, name = name.lower(), self.name()
            if scope == "sys" and name.lower() not in SYSTEM_NAMES:
                raise FilterError(f"there is no system property sys.{name}")
            return scope, name
        return "user", name


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
