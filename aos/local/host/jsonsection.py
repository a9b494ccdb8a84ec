"""Objects of host.json that answer typed questions."""

import enum
import math
import re
from collections.abc import Mapping
from typing import Any

from aos.local.host.errors import HostError

_TIMESPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2})(?:\.(\d{1,7}))?")
_INTEGER = re.compile(r"-?\d{1,18}")
_ENDLESS = ("-1", "-00:00:00.0010000", "-00:00:00.001")  # .NET's Timeout.InfiniteTimeSpan


def timespan_s(text: str) -> float | None:
    """Seconds of a .NET time span, `[d.]hh:mm:ss[.fffffff]`; `None` when it is not one."""
    match = _TIMESPAN.fullmatch(text)
    if match is None:
        return None
    days, hours, minutes, seconds, fraction = match.groups()
    whole = ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(seconds)
    return whole + float(f"0.{fraction or 0}")


def _read(value: Any, kind: type) -> Any:
    """A number or a truth value that is written as text, which all values are to .NET's configuration."""
    if kind is int and isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value


class Section:
    """An object that answers with what it holds, else a default; `HostError` names what is no answer."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values = values
        self.where = where

    def find(self, dotted: str) -> object:
        """The value at a path of names, whatever it is."""
        value: object = self._values
        for name in dotted.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    def section(self, name: str) -> "Section":
        """An object."""
        return Section(self._get(name, Mapping, {}, "an object"), self._name(name))

    def text(self, name: str, default: str) -> str:
        """A string."""
        return str(self._get(name, str, default, "a string"))

    def texts(self, name: str) -> dict[str, str]:
        """The strings of an object."""
        return {key: str(value) for key, value in self._get(name, Mapping, {}, "an object").items()}

    def all_texts(self) -> dict[str, str]:
        """All that is here, as strings."""
        return {key: str(value) for key, value in self._values.items()}

    def names(self, name: str) -> list[str]:
        """A list of strings."""
        return [str(item) for item in self._get(name, list, [], "a list")]

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        return bool(self._get(name, bool, default, "true or false"))

    def choice[E: enum.StrEnum](self, name: str, kind: type[E]) -> E | None:
        """One of an enumeration's values, compared without regard to case."""
        text = self.text(name, "")
        found = next((each for each in kind if each.lower() == text.lower()), None)
        if text and found is None:
            raise HostError(f"{self._name(name)}: {text!r} is not one of {', '.join(kind)}")
        return found

    def count(self, name: str, default: int) -> int:
        """A whole number of at least 1."""
        value = self._get(name, int, default, "a whole number")
        if isinstance(value, bool) or value < 1:
            raise HostError(f"{self._name(name)} must be a whole number of at least 1")
        return int(value)

    def duration(self, name: str, default: float) -> float:
        """Seconds, infinity among them."""
        return math.inf if str(self.find(name)) in _ENDLESS else self.seconds(name, default)

    def seconds(self, name: str, default: float) -> float:
        """A time span."""
        seconds = self.optional_seconds(name)
        return default if seconds is None else seconds

    def optional_seconds(self, name: str) -> float | None:
        """A time span, `None` when there is none."""
        text = self._get(name, str, None, "a time span")
        if text is None:
            return None
        seconds = timespan_s(text)
        if seconds is None:
            raise HostError(f"{self._name(name)}: {text!r} is not a time span like 00:05:00")
        return seconds

    def _get(self, name: str, kind: type, default: Any, what: str) -> Any:
        value = self._values.get(name)
        if value is None:
            return default
        value = _read(value, kind)
        if not isinstance(value, kind):
            raise HostError(f"{self._name(name)} must be {what}")
        return value

    def _name(self, name: str) -> str:
        return f"{self.where}.{name}" if ": " in self.where else f"{self.where}: {name}"
