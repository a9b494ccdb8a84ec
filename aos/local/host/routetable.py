"""The routes of the app's HTTP functions: which function a request is for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from aos.local.host.door import Level
from aos.local.host.errors import HostError
from aos.local.host.functions import Function, Trigger
from aos.local.host.routes import Route, RouteError, compile_route

RESERVED = ("admin", "runtime")
"""The first segments of paths that belong to the host."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A function and the requests that it takes (no methods: all)."""

    function: Function
    route: Route
    methods: frozenset[str]
    level: Level


@dataclass(frozen=True, slots=True)
class Match:
    """The entry that a request is for, and its route parameters."""

    entry: Entry
    parameters: dict[str, str]


class RouteTable:
    """The routes, the most specific first; of those that are alike the first by their function's name."""

    def __init__(self, functions: Iterable[Function], prefix: str) -> None:
        entries = [
            Entry(function, _route(function, prefix), _methods(function), _level(function))
            for function in functions
            if function.trigger is Trigger.HTTP and not function.disabled
        ]
        self._entries = sorted(entries, key=lambda entry: (entry.route.rank, entry.function.name.lower()))

    def find(self, method: str, raw_path: str) -> Match | frozenset[str]:
        """The function and its route parameters; else the methods that the path would allow."""
        path = raw_path.lstrip("/")
        allowed: set[str] = set()
        for entry in self._entries:
            values = entry.route.match(path)
            if values is None:
                continue
            if not entry.methods or method in entry.methods:
                return Match(entry, values)
            allowed |= entry.methods
        return frozenset(allowed)

    def differences(self) -> Iterator[str]:
        """Where Azure would choose otherwise: there, of all that fit, the first by name is called."""
        for place, entry in enumerate(self._entries):
            hidden = [other for other in self._entries[:place] if _hides(entry, other)]
            if hidden:
                names = ", ".join(f"{other.function.name} (/{other.route.template})" for other in hidden)
                taker = f"{entry.function.name} (/{entry.route.template})"
                yield (
                    f"routes: in Azure {taker} would take requests for {names}, because its name sorts first;"
                    " here the more specific route wins"
                )


def _hides(entry: Entry, other: Entry) -> bool:
    sample = other.route.sample()
    return (
        entry.function.name.lower() < other.function.name.lower()
        and (not entry.methods or not other.methods or bool(entry.methods & other.methods))
        and sample is not None
        and entry.route.match(sample) is not None
    )


def _route(function: Function, prefix: str) -> Route:
    template = str(function.properties.get("route") or function.name).strip("/")
    full = f"{prefix}/{template}" if prefix else template
    if full.partition("/")[0].lower() in RESERVED:
        raise HostError(f"function {function.name}: route {full!r} belongs to the host", code=1)
    try:
        return compile_route(full)
    except RouteError as error:
        raise HostError(f"function {function.name}: {error}", code=1) from error


def _methods(function: Function) -> frozenset[str]:
    return frozenset(str(method).upper() for method in function.properties.get("methods") or ())


def _level(function: Function) -> Level:
    wanted = str(function.properties.get("authLevel") or Level.FUNCTION).lower()
    try:
        return Level(wanted)
    except ValueError as error:
        reason = f"authLevel {wanted!r} is not one of {', '.join(Level)}"
        raise HostError(f"function {function.name}: {reason}", code=1) from error
