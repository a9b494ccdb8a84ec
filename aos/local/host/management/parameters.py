"""What a management request asks for in its query; what cannot be understood is refused by name."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NoReturn

import durabletask.internal.orchestrator_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from aos.local.host.answers import BadRequest
from aos.local.host.management.documents import STATUS_NAMES

_STATUSES = {name.lower(): status for status, name in STATUS_NAMES.items()}
_FLAGS = {"true": True, "false": False}
_UNQUOTED_PLUS = re.compile(r" (\d{2}:?\d{2})$")


class Parameters:
    """A query: names without regard to case, an empty value is an absent one."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            if value.strip():
                self._values.setdefault(name.lower(), []).append(value.strip())

    def text(self, name: str) -> str | None:
        """The value, if there is one."""
        values = self._values.get(name.lower())
        return ",".join(values) if values else None

    def flag(self, name: str, *, default: bool) -> bool:
        """`true` or `false`."""
        value = self.text(name)
        if value is None:
            return default
        flag = _FLAGS.get(value.lower())
        return _refuse(name, value, "true or false") if flag is None else flag

    def count(self, name: str) -> int | None:
        """A whole number of at least 1."""
        value = self.text(name)
        if value is None:
            return None
        if not value.isascii() or not value.isdecimal() or not 0 < int(value) < 2**31:
            _refuse(name, value, "a whole number of at least 1")
        return int(value)

    def seconds(self, name: str) -> float | None:
        """A number of seconds that is not negative."""
        value = self.text(name)
        if value is None:
            return None
        try:
            seconds = float(value)
        except ValueError:
            _refuse(name, value, "a number of seconds")
        return seconds if 0 <= seconds < float("inf") else _refuse(name, value, "a number of seconds")

    def instant(self, name: str) -> Timestamp | None:
        """A point in time in ISO 8601, in UTC when it names no offset."""
        value = self.text(name)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(_UNQUOTED_PLUS.sub(r"+\1", value))
        except ValueError:
            _refuse(name, value, "a time such as 2026-01-31T12:00:00Z")
        stamp = Timestamp()
        stamp.FromDatetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        return stamp

    def statuses(self, name: str) -> list[pb.OrchestrationStatus]:
        """Runtime statuses, separated by commas or given several times."""
        found = []
        for value in (self.text(name) or "").split(","):
            if not value.strip():
                continue
            status = _STATUSES.get(value.strip().lower())
            if status is None:
                _refuse(name, value, f"one of {', '.join(STATUS_NAMES.values())}")
            found.append(status)
        return found


def _refuse(name: str, value: str, wanted: str) -> NoReturn:
    raise BadRequest(f"the parameter {name} must be {wanted}, not {value!r}")
