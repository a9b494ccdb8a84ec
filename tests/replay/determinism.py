"""A static check that code gives the same answer each time it is replayed.

It follows the imports from a file through the package and reports every use of what differs from one
replay to the next: the clock, chance, the environment, the outside.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

FORBIDDEN = (
    "aos.services.environment.clock.system_clock",
    "asyncio",
    "builtins.hash",  # of a str it differs between processes
    "builtins.id",
    "builtins.input",
    "builtins.open",
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
    "io.open",
    "locale",
    "os",
    "pathlib.Path",
    "random",
    "secrets",
    "socket",
    "subprocess",
    "threading",
    "time",
    "urllib.request",
    "uuid",
)
_NEED_ZONE = ("datetime.datetime.fromtimestamp", "datetime.date.fromtimestamp")
"""With one argument they give the machine's local time."""


def reachable(root: Path, package: str, start: list[Path]) -> list[Path]:
    """The files of the package that these files import, directly or not, and they themselves."""
    found, waiting = set[Path](), list(start)
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += [imported for name in _imports(_parse(file)).values() if name.startswith(f"{package}.")
                        for imported in _files(root, name)]  # fmt: skip
    return sorted(found)


def violations(source: str) -> list[str]:
    """Each forbidden use as `line: name`."""
    tree = ast.parse(source)
    return [f"{line}: {name}" for line, name in _uses(tree, _imports(tree))]


def _uses(tree: ast.Module, imports: dict[str, str]) -> Iterator[tuple[int, str]]:
    local = {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    local |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    inner = {node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and len(node.args) + len(node.keywords) == 1:
            name = _qualified(node.func, imports, local)
            if name in _NEED_ZONE:
                yield node.lineno, f"{name} without a time zone"
        if isinstance(node, ast.Name | ast.Attribute) and node not in inner:
            name = _qualified(node, imports, local)
            if name is not None and _forbidden(name):
                yield node.lineno, name


def _qualified(node: ast.expr, imports: dict[str, str], local: set[str]) -> str | None:
    """The name of what an expression refers to, if an import or the language defines it."""
    match node:
        case ast.Name(id=name):
            return imports.get(name) or (None if name in local else f"builtins.{name}")
        case ast.Attribute(value=value, attr=attribute):
            owner = _qualified(value, imports, local)
            return owner and f"{owner}.{attribute}"
        case _:
            return None


def _forbidden(name: str) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in FORBIDDEN)


def _imports(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.partition(".")[0]
                names[alias.asname or whole] = whole
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _files(root: Path, name: str) -> Iterator[Path]:
    """The module that a dotted name is, or is defined in."""
    for parts in (name.split("."), name.split(".")[:-1]):
        base = root.joinpath(*parts)
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.is_file():
                yield file
                return


def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text())
