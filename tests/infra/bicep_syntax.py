"""The syntax tree of a Bicep file; what does not parse is an error, and so is what is no statement."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tree_sitter_bicep
from tree_sitter import Language, Parser

_PARSER = Parser(Language(tree_sitter_bicep.language()))
_STATEMENTS = {
    "import_functionality",
    "metadata_declaration",
    "module_declaration",
    "output_declaration",
    "parameter_declaration",
    "resource_declaration",
    "target_scope_assignment",
    "type_declaration",
    "variable_declaration",
}


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the tree. A parser's own nodes are made anew each time that one is looked at."""

    type: str
    text: str
    line: int
    children: tuple[Node, ...]
    named_children: tuple[Node, ...]


@functools.lru_cache(maxsize=256)
def parse(source: bytes) -> Node:
    """Return the root of the syntax tree.

    Raises:
        SyntaxError: the text does not parse, or holds something that is no statement of Bicep.
    """
    root = _taken(_PARSER.parse(source).root_node, source)
    strange = [
        node.type for node in root.named_children if node.type not in _STATEMENTS | {"comment", "decorators"}
    ]
    if strange:
        raise SyntaxError(f"no statements of Bicep: {strange}")
    return root


def _taken(node: Any, source: bytes) -> Node:
    line = node.start_point[0] + 1
    if node.is_error or node.is_missing:
        raise SyntaxError(f"line {line}: {source.splitlines()[line - 1].decode()!r}")
    children = [(each.is_named, _taken(each, source)) for each in node.children]
    return Node(
        node.type,
        node.text.decode(),
        line,
        tuple(child for _, child in children),
        tuple(child for named, child in children if named),
    )


def walk(node: Node) -> Iterator[Node]:
    """Yield the node and all below it, in the order of the text."""
    yield node
    for child in node.children:
        yield from walk(child)


def name_of(statement: Node) -> str:
    """Return what a statement declares."""
    return next((child.text for child in statement.named_children if child.type == "identifier"), "")
