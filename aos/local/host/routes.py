"""Route templates of HTTP triggers: `items/{id:int}`, `{x?}`, `{*rest}`, matched as ASP.NET does.

The most specific route wins, segment by segment: literal text before a constrained parameter,
before a plain one, before a catch-all.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from urllib.parse import unquote

_PARAMETER = re.compile(
    r"\{(?P<star>\*{0,2})(?P<name>[^{}:=?]+)(?P<rest>[^{}]*(?:\{\{?[^{}]*\}\}?[^{}]*)*)\}"
)
_GUID = re.compile(r"[{(]?[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}[})]?")
_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*")
_DECIMAL = r"\s*[+-]?([0-9][0-9,]*(\.[0-9]*)?|\.[0-9]+)"
_TIMES = ("%m-%d-%Y", "%m/%d/%Y", "%Y-%m-%d %I:%M%p", "%m-%d-%Y %I:%M%p", "%I:%M%p")
_CONSTRAINT = re.compile(r"(?P<name>[a-zA-Z]+)(?:\((?P<argument>.*)\))?")

Check = Callable[[str], bool]


class RouteError(ValueError):
    """A route template that cannot be understood."""


def _between(least: float, most: float, text: str) -> bool:
    return _INTEGER.fullmatch(text) is not None and least <= int(text) <= most


def _is_time(text: str) -> bool:
    for form in (None, *_TIMES):
        try:
            datetime.strptime(text, form) if form else datetime.fromisoformat(text)
        except ValueError:
            continue
        return True
    return False


def _length(least: int, most: float, text: str) -> bool:
    return least <= len(text) <= most


def _found(pattern: re.Pattern[str], text: str) -> bool:
    return pattern.search(text) is not None


def _unescaped(pattern: str) -> str:
    """Braces of a regular expression are doubled in a template."""
    return pattern.replace("{{", "{").replace("}}", "}")


def _plain(pattern: str) -> Callable[[str], Check]:
    compiled = re.compile(pattern, re.IGNORECASE)
    return lambda _argument: lambda text: compiled.fullmatch(text) is not None


def _bounds(argument: str) -> tuple[int, int]:
    first, _, second = argument.partition(",")
    return int(first), int(second or first)


_INFINITE = float("inf")
_SAMPLES = ("x", "1", "true", "2026-01-31", "0f8fad5b-d9cb-469f-a165-70867728950e", "12", "abcd", "5000")
_CONSTRAINTS: dict[str, Callable[[str], Check]] = {
    "int": lambda _: partial(_between, -(2**31), 2**31 - 1),
    "long": lambda _: partial(_between, -(2**63), 2**63 - 1),
    "decimal": _plain(rf"{_DECIMAL}\s*"),
    "double": _plain(rf"{_DECIMAL}(e[+-]?[0-9]+)?\s*"),
    "float": _plain(rf"{_DECIMAL}(e[+-]?[0-9]+)?\s*"),
    "bool": _plain("true|false"),
    "alpha": _plain("[a-z]*"),
    "datetime": lambda _: _is_time,
    "guid": lambda _: lambda text: _GUID.fullmatch(text) is not None,
    "required": lambda _: bool,
    "min": lambda least: partial(_between, int(least), _INFINITE),
    "max": lambda most: partial(_between, -_INFINITE, int(most)),
    "range": lambda bounds: partial(_between, *_bounds(bounds)),
    "length": lambda bounds: partial(_length, *_bounds(bounds)),
    "minlength": lambda least: partial(_length, int(least), _INFINITE),
    "maxlength": lambda most: partial(_length, 0, int(most)),
    "regex": lambda pattern: partial(_found, re.compile(_unescaped(pattern), re.IGNORECASE)),
}


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    catch_all: bool
    optional: bool
    default: str | None
    checks: tuple[Check, ...]

    def sample(self) -> str | None:
        """A value that passes the checks, if one of the usual does."""
        return next((value for value in _SAMPLES if all(check(value) for check in self.checks)), None)


@dataclass(frozen=True, slots=True)
class Route:
    """A compiled template; `rank` orders routes from the most to the least specific."""

    template: str
    rank: tuple[int, ...]
    _pattern: re.Pattern[str]
    _parameters: tuple[_Parameter, ...]

    def sample(self) -> str | None:
        """A path that fits, with every parameter given; `None` when none comes to mind."""
        values = iter([parameter.sample() for parameter in self._parameters])
        path = _PARAMETER.sub(lambda _match: next(values) or "", self.template)
        return path if self.match(path) is not None else None

    def match(self, path: str) -> dict[str, str] | None:
        """The parameters when `path` (raw, without its leading slash) fits this route."""
        found = self._pattern.fullmatch(path)
        if found is None:
            return None
        values: dict[str, str] = {}
        for index, parameter in enumerate(self._parameters):
            raw = found.group(f"p{index}")
            if raw:
                values[parameter.name] = unquote(raw)
                if not all(check(values[parameter.name]) for check in parameter.checks):
                    return None
            elif parameter.default is not None:
                values[parameter.name] = parameter.default
        return values


def compile_route(template: str) -> Route:
    """Compile a route template; `RouteError` says what is wrong with it."""
    parameters: list[_Parameter] = []
    pieces, rank, omittable = [], [], []
    for segment in _split(template.strip("/")):
        if _CATCH_ALL in rank:
            raise RouteError(f"{template!r}: a catch-all parameter must come last")
        piece, kind = _segment(segment, parameters)
        pieces.append(piece)
        rank.append(kind)
        omittable.append(kind == _CATCH_ALL or _omittable(segment, parameters))
    pattern = ""
    for place in reversed(range(len(pieces))):
        piece = ("/" if place else "") + pieces[place] + pattern
        pattern = f"(?:{piece})?" if all(omittable[place:]) else piece
    names = [parameter.name.lower() for parameter in parameters]
    if len(set(names)) != len(names):
        raise RouteError(f"{template!r}: a parameter's name is used twice")
    return Route(template, (*rank, _END), re.compile(pattern + "/?", re.IGNORECASE), tuple(parameters))


_LITERAL, _MIXED, _CONSTRAINED, _FREE, _END, _CATCH_ALL = range(6)


def _omittable(segment: str, parameters: list[_Parameter]) -> bool:
    whole = _PARAMETER.fullmatch(segment) is not None
    return whole and (parameters[-1].optional or parameters[-1].default is not None)


def _split(template: str) -> list[str]:
    """Cut at slashes outside braces (a regex constraint may contain one)."""
    segments, depth, current = [], 0, ""
    for char in template:
        depth += (char == "{") - (char == "}")
        if char == "/" and depth == 0:
            segments.append(current)
            current = ""
        else:
            current += char
    if depth:
        raise RouteError(f"{template!r}: braces do not match")
    segments.append(current)
    return [segment for segment in segments if segment]


def _segment(segment: str, parameters: list[_Parameter]) -> tuple[str, int]:
    """The regular expression of one segment and its rank; parameters found are appended."""
    pattern, at, kind = "", 0, _LITERAL
    for match in _PARAMETER.finditer(segment):
        parameter = _parse_parameter(match)
        before, group = segment[at : match.start()], f"p{len(parameters)}"
        if parameter.optional and before.endswith(".") and match.end() == len(segment):
            # `{name}.{extension?}`: what comes before takes no more than it must.
            pattern = pattern.replace("[^/]+)", "[^/]+?)")
            pattern += re.escape(before[:-1]) + rf"(?:\.(?P<{group}>[^/.]+))?"
        else:
            text = r".*" if parameter.catch_all else r"[^/]+"
            pattern += re.escape(before) + f"(?P<{group}>{text})"
        parameters.append(parameter)
        at = match.end()
        kind = _CATCH_ALL if parameter.catch_all else _CONSTRAINED if parameter.checks else _FREE
    tail = segment[at:]
    if "{" in tail or "}" in tail:
        raise RouteError(f"{segment!r} is not a route segment")
    whole = _PARAMETER.fullmatch(segment) is not None
    return pattern + re.escape(tail), kind if whole or kind == _LITERAL else _MIXED


def _parse_parameter(match: re.Match[str]) -> _Parameter:
    rest = match["rest"]
    optional = rest.endswith("?")
    constraints, *defaults = _cut(rest.removesuffix("?"), "=")
    checks = tuple(_constraint(text) for text in _cut(constraints, ":") if text)
    default = "=".join(defaults) if defaults else None
    return _Parameter(match["name"].strip(), bool(match["star"]), optional, default, checks)


def _cut(text: str, separator: str) -> Iterable[str]:
    """`:int:min(1)` cut at the separators outside brackets."""
    pieces, depth = [""], 0
    for char in text:
        depth += (char == "(") - (char == ")")
        if char == separator and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += char
    return pieces


def _constraint(text: str) -> Check:
    match = _CONSTRAINT.fullmatch(text)
    maker = _CONSTRAINTS.get(match["name"].lower()) if match else None
    if match is None or maker is None:
        raise RouteError(f"unknown route constraint {text!r}")
    try:
        return maker(match["argument"] or "")
    except (ValueError, re.error) as error:
        raise RouteError(f"bad route constraint {text!r}: {error}") from error
