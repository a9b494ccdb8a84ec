"""The levels of host.json's `logging.logLevel`: which lines are written, by category."""

from collections.abc import Mapping

LEVELS = ("trace", "debug", "information", "warning", "error", "critical", "none")
CONSOLE = "Host.Function.Console"
"""The category of what workers print."""


def function_category(name: str) -> str:
    """The category of the line that the host writes at the end of an invocation."""
    return f"Function.{name}"


def user_category(name: str) -> str:
    """The category of what a function logs."""
    return f"Function.{name}.User"


class LogLevels:
    """Levels by category; the longest category that a name begins with counts, else `default`.

    Keys are compared without regard to case, values must be among `LEVELS`.
    """

    def __init__(self, levels: Mapping[str, str] | None = None) -> None:
        self.levels = dict(levels or {})
        known = {category.lower(): LEVELS.index(level.lower()) for category, level in self.levels.items()}
        self._default = known.pop("default", LEVELS.index("information"))
        self._longest_first = sorted(known.items(), key=lambda item: -len(item[0]))
        self._thresholds: dict[str, int] = {}

    def allows(self, category: str, level: str) -> bool:
        """Whether a line of this category and level (one of `LEVELS`) is written."""
        threshold = self._thresholds.get(category)
        if threshold is None:
            threshold = self._thresholds[category] = self._threshold(category.lower())
        return LEVELS.index(level) >= threshold and threshold < LEVELS.index("none")

    @property
    def lowest(self) -> str:
        """The lowest level that any category asks for."""
        return LEVELS[min([self._default, *(level for _, level in self._longest_first)])]

    def _threshold(self, category: str) -> int:
        found = (level for prefix, level in self._longest_first if category.startswith(prefix))
        return next(found, self._default)
