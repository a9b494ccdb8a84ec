"""Orchestration versions: which instances this version of the app may run, by host.json."""

import enum
import re
from dataclasses import dataclass

_VERSION = re.compile(r"\d+(\.\d+){1,3}")


class MatchStrategy(enum.StrEnum):
    """Which instances are run, by `versionMatchStrategy`."""

    NONE = "None"  # all
    STRICT = "Strict"  # those of the very version of this app
    CURRENT_OR_OLDER = "CurrentOrOlder"


class FailureStrategy(enum.StrEnum):
    """What becomes of the others, by `versionFailureStrategy`."""

    REJECT = "Reject"  # they wait for an app that may run them
    FAIL = "Fail"


@dataclass(frozen=True, slots=True)
class Versions:
    """The app's version (`defaultVersion`; with none every instance is run) and the strategies."""

    default: str | None = None
    match: MatchStrategy = MatchStrategy.CURRENT_OR_OLDER
    failure: FailureStrategy = FailureStrategy.REJECT

    def mismatch(self, version: str | None) -> str | None:
        """Why an instance of that version is not run, `None` when it is."""
        if not self.default or self.match is MatchStrategy.NONE:
            return None
        order = compare(version, self.default)
        if self.match is MatchStrategy.STRICT and order != 0:
            return f"the orchestration version {version or ''!r} does not match the version {self.default!r}"
        if order > 0:
            return f"the orchestration version {version!r} is newer than the version {self.default!r}"
        return None


def compare(left: str | None, right: str | None) -> int:
    """Below, at or above zero: by number when both are versions of two to four numbers, else as text.

    No version is older than any. As .NET's `System.Version`: a part left out is older than a zero.
    """
    if not left or not right:
        return bool(left) - bool(right)
    if _VERSION.fullmatch(left) and _VERSION.fullmatch(right):
        first, second = ([int(part) for part in version.split(".")] for version in (left, right))
        return (first > second) - (first < second)
    return (left.lower() > right.lower()) - (left.lower() < right.lower())
