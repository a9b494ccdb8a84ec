"""RFC 9457 problem documents as the errors that they were."""

from __future__ import annotations

import json
from typing import Any

from aos.kernel import errors
from aos.kernel.errors import AosError

_STANDARD = frozenset({"type", "title", "status", "detail", "instance", "code"})
_BY_CODE: dict[str, type[AosError]] = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AosError)
}
_BY_STATUS: dict[int, type[AosError]] = {
    400: errors.InvalidInput,
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    422: errors.InvalidInput,
    429: errors.Unavailable,
    502: errors.Unavailable,
    503: errors.Unavailable,
    504: errors.Unavailable,
}


def error_of(status: int, body: bytes) -> AosError:
    """Return the error that an answer of this status and body stands for.

    A problem's ``code`` names the class, its ``detail`` is the message, its extension members are the
    error's details. An answer that is no problem (a proxy's page, say) goes by its status.
    """
    problem = _object(body)
    code = problem.get("code")
    kind = _BY_CODE.get(code) if isinstance(code, str) else None
    message = str(problem.get("detail") or problem.get("title") or f"the server answered {status}")
    details = {name: value for name, value in problem.items() if name not in _STANDARD}
    error = (kind or _BY_STATUS.get(status, AosError))(message, **{"status": status} | details)
    if kind is None and isinstance(code, str):
        error.code = code  # of a server newer than this client
    return error


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
