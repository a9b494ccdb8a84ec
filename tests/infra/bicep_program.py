"""Evaluates Bicep templates far enough to see what a deployment with given parameters would make.

The Bicep compiler cannot be had everywhere the tests run, so this walks the syntax tree: parameters,
variables, conditions, loops and modules of our own files are evaluated; what only Azure knows (an output of
a registry module, a property of a resource) is an ``Unresolved`` name of itself, which flows on like a value.
Anything it does not understand is an error, never skipped.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bicep_expressions import Declared, Expressions, Scope
from bicep_functions import Unresolved
from bicep_syntax import Node, name_of, parse, walk

_TYPES = {"array": list, "bool": bool, "int": int, "object": dict, "string": str}


@dataclass(frozen=True)
class Made:
    """A resource, or a module of the public registry: ``what`` is ``type@version`` or ``br/public:...``."""

    what: str
    symbol: str
    file: str
    scope: str
    body: Mapping[str, Any]
    id: Unresolved

    @property
    def params(self) -> Mapping[str, Any]:
        return self.body["params"]


@dataclass
class Deployment:
    """What a deployment makes, what it takes as there, and what it says at its end."""

    made: list[Made] = field(default_factory=list)
    existing: dict[str, Made] = field(default_factory=dict)
    """By their ids: role assignments name them as their scopes."""
    modules: list[tuple[str, str]] = field(default_factory=list)
    """Scope and name of every module: Azure knows a deployment by the two."""
    outputs: dict[str, Any] = field(default_factory=dict)

    def add(self, other: Deployment) -> None:
        """Take in what a module makes."""
        self.made += other.made
        self.existing |= other.existing
        self.modules += other.modules

    def of(self, what: str) -> list[Made]:
        """Return what was made of a type or module, whatever its version."""
        return [made for made in self.made if re.split("[@:](?=[0-9])", made.what)[0] == what]


def deploy(file: Path, parameters: Mapping[str, Any]) -> Deployment:
    """Evaluate a template with all that it calls.

    Raises:
        Refused: the template refuses the parameters.
        TypeError: a parameter is missing, unknown or of another type, here or in a module.
    """
    _texts.cache_clear()
    return _evaluated(file, parameters, "subscription", "")


@functools.lru_cache(maxsize=256)
def _called(text: str) -> frozenset[str]:
    """The files of ours that a template names."""
    return frozenset(re.findall(r"'([\w./-]+\.(?:bicep|json))'", text))


@functools.cache
def _texts(file: Path) -> frozenset[str]:
    """The text of a template, and of all that it calls and reads, as they stand when a deployment begins."""
    text = file.read_text()
    below = (_texts(file.parent / name) for name in _called(text)) if file.suffix == ".bicep" else ()
    return frozenset({text}).union(*below)


_EVALUATED: dict[Any, Deployment] = {}


def _evaluated(file: Path, parameters: Mapping[str, Any], scope: str, path: str) -> Deployment:
    """What one template makes: the same again, where neither it nor what it calls or is given changed."""
    key = _texts(file), file.name, repr(sorted(parameters.items())), scope, path
    if key not in _EVALUATED:
        made = Deployment()
        made.outputs = _Template(file, parameters, scope, path, made).outputs()
        _EVALUATED[key] = made
    return _EVALUATED[key]


class _Template:
    """One file with its parameters; declarations are evaluated when they are first needed."""

    def __init__(
        self, file: Path, parameters: Mapping[str, Any], scope: str, path: str, deployment: Deployment
    ) -> None:
        self._file, self._scope, self._path, self._deployment = file, scope, path, deployment
        self._given = dict(parameters)
        self._values: dict[str, Any] = {}
        self._expressions = Expressions(file, self._value)
        self._statements: dict[str, Node] = {}
        self._outputs: dict[str, Node] = {}
        self._decorators: dict[str, Node] = {}
        self._imported: dict[str, Path] = {}
        self._read()
        unknown = set(self._given) - {
            name for name, node in self._statements.items() if node.type == "parameter_declaration"
        }
        if unknown:
            raise TypeError(f"{file.name} has no parameter {sorted(unknown)}")
        for name, node in self._statements.items():
            if node.type != "variable_declaration":
                self._value(name)

    def outputs(self) -> dict[str, Any]:
        return {name: self._eval(node.named_children[-1]) for name, node in self._outputs.items()}

    def _read(self) -> None:
        decorators: Node | None = None
        for node in parse(self._file.read_bytes()).named_children:
            match node.type:
                case "decorators":
                    decorators = node
                    continue
                case "output_declaration":
                    self._outputs[name_of(node)] = node
                case "import_functionality":
                    source = self._file.parent / self._eval(node.named_children[-1])
                    for imported in node.named_children[:-1]:
                        self._imported[imported.text] = source
                case (
                    "parameter_declaration"
                    | "variable_declaration"
                    | "resource_declaration"
                    | "module_declaration"
                ):
                    self._statements[name_of(node)] = node
                    if decorators is not None:
                        self._decorators[name_of(node)] = decorators
            decorators = None

    def _eval(self, node: Node, env: Scope | None = None) -> Any:
        return self._expressions.evaluate(node, env or {})

    def _value(self, name: str) -> Any:
        if name not in self._values:
            self._values[name] = self._declare(name, self._statements[name])
        return self._values[name]

    def _declare(self, name: str, node: Node) -> Any:
        body = node.named_children[-1]
        match node.type:
            case "parameter_declaration":
                return self._parameter(name, node)
            case "variable_declaration":
                return self._eval(body)
        if body.type == "for_statement":
            turns = self._expressions.turns(body, {})
            return [self._make(name, node, inner, env, f"[{index}]") for inner, env, index in turns]
        return self._make(name, node, body, {}, "")

    def _make(self, name: str, node: Node, body: Node, env: Scope, at: str) -> Declared | None:
        if body.type == "if_statement":
            condition, body = body.named_children
            if not self._eval(condition, env):
                return None
        what = self._eval(node.named_children[1])
        values = self._eval(body, env)
        made_id = Unresolved(f"{self._path}/{name}{at}")
        scope = values.get("scope", self._scope)
        scope = str(scope.id if isinstance(scope, Declared) else scope)
        made = Made(what, name, self._file.name, scope, values, made_id)
        if node.type == "module_declaration":
            self._deployment.modules.append((scope, values["name"]))
            if not what.startswith("br/"):
                called = _evaluated(self._file.parent / what, values["params"], scope, made_id)
                self._deployment.add(called)
                return Declared(made_id, values, called.outputs)
        if any(child.text == "existing" for child in node.children):
            self._deployment.existing[made_id] = made
        else:
            self._deployment.made.append(made)
        return Declared(made_id, values)

    def _parameter(self, name: str, node: Node) -> Any:
        if name in self._given:
            value = self._given[name]
        elif any(child.text == "=" for child in node.children):
            value = self._eval(node.named_children[-1])
        else:
            raise TypeError(f"{self._file.name} needs the parameter {name!r}")
        self._check_type(name, node.named_children[1].text, value)
        for call in walk(self._decorators[name]) if name in self._decorators else ():
            if call.type == "call_expression" and call.named_children[0].text == "allowed":
                allowed = self._eval(call.named_children[1].named_children[0])
                if value not in allowed:
                    raise TypeError(f"{self._file.name}: {name} is {value!r}, not one of {allowed}")
        return value

    def _check_type(self, name: str, wanted: str, value: Any) -> None:
        if isinstance(value, Unresolved):
            return
        if wanted in _TYPES:
            if type(value) is not _TYPES[wanted]:
                raise TypeError(f"{self._file.name}: {name} is {value!r}, not of type {wanted}")
            return
        fields = _fields(self._imported[wanted], wanted)
        if set(value) != fields:
            raise TypeError(f"{self._file.name}: {name} and {wanted} differ in {sorted(set(value) ^ fields)}")


def _fields(file: Path, wanted: str) -> set[str]:
    for node in parse(file.read_bytes()).named_children:
        if node.type == "type_declaration" and name_of(node) == wanted:
            return {property_.named_children[0].text for property_ in node.named_children[1].named_children}
    raise TypeError(f"{file.name} has no type {wanted}")
