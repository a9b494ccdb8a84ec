"""Every error that AOS raises on purpose, by meaning.

The API renders them as RFC 9457 problem documents and the CLI prints the same ``code``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class AosError(Exception):
    """The root. ``code`` is stable and machine-readable; ``details`` carry the ids needed to act."""

    code = "internal"

    def __init__(self, message: str, /, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, Any] = details


class InvalidInput(AosError):
    """What was sent does not have the shape that is asked for."""

    code = "invalid_input"


class InvalidDefinition(InvalidInput):
    """A workflow definition is wrong; ``step`` and ``field`` say where."""

    code = "invalid_definition"


class InvalidExpression(InvalidInput):
    """An expression does not parse, or cannot be evaluated on the values at hand."""

    code = "invalid_expression"


class InvalidSetting(InvalidInput):
    """A setting is unknown or malformed; the start stops."""

    code = "invalid_setting"


class Unauthenticated(AosError):
    """No key, or one that is not known."""

    code = "unauthenticated"


class Forbidden(AosError):
    """The caller is known but has not the role that this asks for."""

    code = "forbidden"


class PolicyDenied(AosError):
    """A policy forbids the action, or none permits it; ``policies`` names those that decided."""

    code = "policy_denied"


class NotFound(AosError):
    """There is no such thing."""

    code = "not_found"


class Conflict(AosError):
    """The thing is not in the state that the caller supposes; nothing was changed."""

    code = "conflict"


class IllegalTransition(Conflict):
    """A state machine has no such transition; names the state, the event and what is allowed."""

    code = "illegal_transition"


class BudgetExceeded(AosError):
    """A reservation or a call would go past what is left of a budget."""

    code = "budget_exceeded"


class TooLarge(InvalidInput):
    """The value is larger than AOS takes."""

    code = "too_large"


class Unavailable(AosError):
    """Something that AOS depends on does not answer now; the same call may succeed later."""

    code = "unavailable"


class ReadOnly(AosError):
    """This deployment is a standby, which changes nothing."""

    code = "read_only"


class Integrity(AosError):
    """A record, a proof or a signature does not verify."""

    code = "integrity"
