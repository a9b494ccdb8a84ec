"""Evaluates the expressions of a Bicep file, as tree-sitter's grammar parses them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bicep_functions import FUNCTIONS, Unresolved
from bicep_syntax import Node

type Scope = Mapping[str, Any]


@dataclass(frozen=True)
class Declared:
    """A declared resource or module instance, as expressions see it."""

    id: Unresolved
    body: Mapping[str, Any]
    outputs: Mapping[str, Any] | None = None

    def get(self, key: str) -> Any:
        if key == "outputs":
            return Unresolved(f"{self.id}.outputs") if self.outputs is None else self.outputs
        if key in ("id", "properties"):
            return Unresolved(f"{self.id}.{key}")
        return self.body[key] if key in self.body else Unresolved(f"{self.id}.{key}")


class Expressions:
    """The expressions of one file; ``value`` gives what a name is declared to be."""

    def __init__(self, file: Path, value: Callable[[str], Any]) -> None:
        self._file = file
        self._value = value

    def evaluate(self, node: Node, env: Scope, tail: tuple[Node, ...] = ()) -> Any:
        """Evaluate; ``tail`` are the member accesses and calls that follow, the nearest first.

        The grammar takes ``a ? b : c.d`` for ``(a ? b : c).d``, and lambdas and operators likewise: what
        follows such a node belongs to its last operand.
        """
        match node.type:
            case "member_expression" | "subscript_expression":
                return self.evaluate(node.named_children[0], env, (node, *tail))
            case "call_expression" if node.named_children[0].type != "identifier":
                return self.evaluate(node.named_children[0], env, (node, *tail))
            case "lambda_expression":
                name, body = (child for child in node.named_children)
                return lambda value: self.evaluate(body, {**env, name.text: value}, tail)
            case "ternary_expression":
                condition, yes, no = node.named_children
                return (
                    self.evaluate(yes, env) if self.evaluate(condition, env) else self.evaluate(no, env, tail)
                )
            case "binary_expression":
                return self._binary(node, env, tail)
            case "unary_expression":
                value = self.evaluate(node.named_children[0], env, tail)
                return not value if node.children[0].text == "!" else -value
            case "identifier" if tail and tail[0].type == "call_expression":
                return self._follow(self._call(node, tail[0], env), env, tail[1:])
            case "call_expression":
                return self._follow(self._call(node.named_children[0], node, env), env, tail)
        return self._follow(getattr(self, f"_eval_{node.type}")(node, env), env, tail)

    def _follow(self, base: Any, env: Scope, tail: tuple[Node, ...]) -> Any:
        for node in tail:
            base = self._access(base, node, env)
        return base

    def _access(self, base: Any, node: Node, env: Scope) -> Any:
        key = node.named_children[1]
        if node.type == "subscript_expression":
            return base[self.evaluate(key, env)]
        if base is None and any(child.text == ".?" for child in node.children):
            return None
        name = key.text
        if isinstance(base, Declared | Unresolved):
            return base.get(name)
        if not isinstance(base, dict):
            raise TypeError(f"{self._file.name}:{node.line}: {node.text} of {base!r}")
        return base[name]

    def _call(self, function: Node, call: Node, env: Scope) -> Any:
        name = function.text
        arguments = [child for child in call.named_children[1].named_children if child.type != "comment"]
        if name == "loadJsonContent":
            return json.loads((self._file.parent / self.evaluate(arguments[0], env)).read_text())
        return FUNCTIONS[name](*(self.evaluate(argument, env) for argument in arguments))

    def _binary(self, node: Node, env: Scope, tail: tuple[Node, ...]) -> Any:
        left, operator, right = node.children
        first = self.evaluate(left, env)
        match operator.text:
            case "&&":
                return first and self.evaluate(right, env, tail)
            case "||":
                return first or self.evaluate(right, env, tail)
            case "??":
                return first if first is not None else self.evaluate(right, env, tail)
            case "==":
                return first == self.evaluate(right, env, tail)
            case ">":
                return first > self.evaluate(right, env, tail)
            case "+":
                return first + self.evaluate(right, env, tail)
        raise NotImplementedError(operator.text)

    def _eval_identifier(self, node: Node, env: Scope) -> Any:
        name = node.text
        return env[name] if name in env else self._value(name)

    def _eval_string(self, node: Node, env: Scope) -> Any:
        parts = []
        for child in node.named_children:
            match child.type:
                case "string_content":
                    parts.append(child.text)
                case "escape_sequence":
                    parts.append(child.text[1:])
                case "interpolation":
                    value = self.evaluate(child.named_children[0], env)
                    parts.append(json.dumps(value) if isinstance(value, bool) else str(value))
        return "".join(parts)

    def _eval_number(self, node: Node, _env: Scope) -> int:
        return int(node.text)

    def _eval_boolean(self, node: Node, _env: Scope) -> bool:
        return node.text == "true"

    def _eval_null(self, _node: Node, _env: Scope) -> None:
        return None

    def _eval_parenthesized_expression(self, node: Node, env: Scope) -> Any:
        return self.evaluate(node.named_children[0], env)

    def _eval_object(self, node: Node, env: Scope) -> dict[str, Any]:
        found = {}
        for property_ in node.named_children:
            if property_.type == "comment":
                continue
            key, value = property_.named_children
            name = key.text if key.type == "identifier" else self.evaluate(key, env)
            if name == "dependsOn":
                self.evaluate(value, env)
            else:
                found[name] = self.evaluate(value, env)
        return found

    def _eval_array(self, node: Node, env: Scope) -> list[Any]:
        return [self.evaluate(child, env) for child in node.named_children if child.type != "comment"]

    def _eval_for_statement(self, node: Node, env: Scope) -> list[Any]:
        return [self.evaluate(body, inner) for body, inner, _ in self.turns(node, env)]

    def turns(self, node: Node, env: Scope) -> list[tuple[Node, Scope, int]]:
        """Return the body of a loop with the names of each turn, and the turn's number."""
        first, items, body = node.named_children
        names = [child.text for child in first.named_children] or [first.text]
        return [
            (body, {**env, **dict(zip(names, (item, index), strict=False))}, index)
            for index, item in enumerate(self.evaluate(items, env))
        ]
