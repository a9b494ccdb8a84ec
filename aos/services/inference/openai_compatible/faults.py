"""What went wrong in a call, by what can be done about it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from openai import APIConnectionError, APIStatusError

from aos.services.inference.messages import EXCERPT, well_formed
from aos.services.inference.ports import ModelRejected, ModelUnavailable

PROVIDER = "openai"

_PASSING = frozenset({408, 409, 425, 429})
"""Client errors that say "later": time out, lock, too early, too many requests."""

_NO_QUOTA = "insufficient_quota"
"""A 429 that only a payment ends."""


class NotACompletion(ModelUnavailable):
    """The endpoint answered with no completion. It may have charged for one, so it is not asked again."""


def classify(error: Exception) -> ModelUnavailable | ModelRejected:
    """Say what an exception of the framework means; its cause is the SDK's own exception."""
    cause = error.__cause__ or error
    if isinstance(cause, APIStatusError):
        return _refused(cause)
    if isinstance(cause, APIConnectionError):
        reason = cause.__cause__ or cause
        return ModelUnavailable(
            f"{PROVIDER}: no connection to {cause.request.url.netloc.decode()}: "
            f"{str(reason) or type(reason).__name__}",
            provider=PROVIDER,
        )
    return NotACompletion(
        f"{PROVIDER}: the endpoint's answer is not a chat completion ({type(cause).__name__})",
        provider=PROVIDER,
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the pause that an answer asks for, in seconds (RFC 9110, 10.2.3; or ``retry-after-ms``)."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    return _until(value, headers.get("date")) if (seconds := _number(value)) is None else seconds


def _refused(error: APIStatusError) -> ModelUnavailable | ModelRejected:
    status = error.status_code
    message = f"{PROVIDER}: HTTP {status}: {_said(error)}"
    passing = status in _PASSING or status >= 500
    if passing and error.code != _NO_QUOTA:
        pause = retry_after_s(error.response.headers)
        return ModelUnavailable(message, retry_after_s=pause, provider=PROVIDER)
    return ModelRejected(message, status=status, provider=PROVIDER)


def _said(error: APIStatusError) -> str:
    body = error.body
    if isinstance(body, Mapping) and isinstance(body.get("message"), str):
        return well_formed(body["message"])
    text = json.dumps(body) if body is not None else error.response.text
    return well_formed(text[:EXCERPT]) or error.response.reason_phrase


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _until(value: str | None, date: str | None) -> float | None:
    # The answer's own Date keeps a clock that differs from the endpoint's out of the pause.
    try:
        then = parsedate_to_datetime(value or "")
        now = parsedate_to_datetime(date) if date else datetime.now(UTC)
        return max(0.0, (then - now).total_seconds())
    except (ValueError, TypeError):
        return None
