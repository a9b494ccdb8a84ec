"""Expressions in workflow definitions: CEL inside ``${{ }}`` in values, and bare CEL in ``when``.

They see ``input``, ``steps.<id>.output``, ``steps.<id>.state`` and ``run.id``. A string that is exactly
one ``${{ }}`` becomes the expression's value, with its type; any other string is text with the values in
it. CEL (https://github.com/google/cel-spec) always ends and touches nothing outside its variables.
Its numbers keep their kind: ``1`` is an integer and ``1.0`` is not; they compare, but do not add.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from cel_expr_python import cel

from aos.kernel.errors import InvalidExpression

_TEMPLATE = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_STRING = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")
_STEP = re.compile(r"\bsteps\s*\.\s*([A-Za-z_]\w*)")
_BARE_STEPS = re.compile(r"\bsteps\b(?!\s*\.\s*[A-Za-z_])")
_VARIABLES = {"input": cel.Type.DYN, "steps": cel.Type.DYN, "run": cel.Type.DYN}
MAX_LENGTH = 4096


@functools.cache
def _environment() -> cel.Env:
    return cel.NewEnv(variables=_VARIABLES)


@functools.lru_cache(maxsize=2048)
def _compile(expression: str) -> cel.Expression:
    if len(expression) > MAX_LENGTH:
        raise InvalidExpression(f"an expression is longer than {MAX_LENGTH} characters")
    refuse_nul(expression)
    try:
        return _environment().compile(expression)
    except RuntimeError as error:
        raise InvalidExpression(f"{expression.strip()!r}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    text = str(error).removeprefix("INVALID_ARGUMENT: ").split("\n", 1)[0]
    return re.sub(r"^ERROR: <input>:\d+:(\d+): ", r"at column \1: ", text)


def evaluate(expression: str, variables: Mapping[str, Any]) -> Any:
    """Return the JSON value of ``expression``.

    Raises:
        InvalidExpression: if it does not parse, or ends in an error (a missing key, say), or in a
            value that JSON cannot hold; or if a text among the variables holds a NUL character, at
            which the CEL library would cut it off.
    """
    refuse_nul(variables)
    return _evaluate(expression, variables)


def refuse_nul(value: Any) -> None:
    """Refuse a value with a NUL character in any of its texts, with ``InvalidExpression``."""
    if isinstance(value, str):
        if "\0" in value:
            raise InvalidExpression("a text with a NUL character cannot be used in expressions")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            refuse_nul(key)
            refuse_nul(item)
    elif isinstance(value, list | tuple):
        for item in value:
            refuse_nul(item)


def _evaluate(expression: str, variables: Mapping[str, Any]) -> Any:
    value = _compile(expression).eval(data=dict(variables))
    if value.type() == cel.Type.ERROR:
        raise InvalidExpression(f"{expression.strip()!r}: {value.plain_value()}")
    plain = value.plain_value()
    try:
        json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError):
        raise InvalidExpression(f"{expression.strip()!r} gives no JSON value: {plain!r}") from None
    return plain


def evaluate_condition(expression: str, variables: Mapping[str, Any]) -> bool:
    """Return the truth of ``expression``; anything but a boolean is an ``InvalidExpression``."""
    value = evaluate(expression, variables)
    if not isinstance(value, bool):
        raise InvalidExpression(f"{expression.strip()!r} is {value!r}, not true or false")
    return value


def render(value: Any, variables: Mapping[str, Any]) -> Any:
    """Return ``value`` with every ``${{ }}`` in its strings evaluated, at any depth."""
    refuse_nul(variables)
    return _render(value, variables)


def _render(value: Any, variables: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        return _render_text(value, variables)
    if isinstance(value, Mapping):
        return {key: _render(item, variables) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_render(item, variables) for item in value]
    return value


def _render_text(text: str, variables: Mapping[str, Any]) -> Any:
    whole = _TEMPLATE.fullmatch(text.strip())
    if whole and "${{" not in whole.group(1):
        return _evaluate(whole.group(1), variables)
    return _TEMPLATE.sub(lambda match: _as_text(_evaluate(match.group(1), variables)), text)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def expressions_in(value: Any) -> Iterator[str]:
    """Yield the source of every ``${{ }}`` in ``value``, at any depth."""
    if isinstance(value, str):
        yield from (match.group(1) for match in _TEMPLATE.finditer(value))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from expressions_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from expressions_in(item)


def check(expression: str) -> frozenset[str]:
    """Compile ``expression`` and return the ids of the steps that it refers to.

    Raises:
        InvalidExpression: if it does not parse, names an unknown variable, or uses ``steps`` other
            than as ``steps.<id>``, so that its dependencies cannot be told.
    """
    _compile(expression)
    bare = _STRING.sub("''", expression)
    if _BARE_STEPS.search(bare):
        raise InvalidExpression(f"{expression.strip()!r}: write steps.<id>.output or steps.<id>.state")
    return frozenset(_STEP.findall(bare))
