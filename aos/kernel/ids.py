"""Identifiers: what they look like, and the ones that are derived from others."""

from __future__ import annotations

import hashlib
import re

from aos.kernel.errors import InvalidInput

ID_PATTERN = r"[a-z0-9_-]{1,64}"
_ID = re.compile(ID_PATTERN)

LONGEST_INSTANCE_ID = 100
"""The most characters of an instance's id in the Durable Task Scheduler; an entity's is ``@name@key``."""


def check_id(value: str, what: str) -> str:
    """Return ``value`` if it is a legal identifier.

    Raises:
        InvalidInput: naming ``what`` was wrong and the pattern that is allowed.
    """
    if not _ID.fullmatch(value):
        raise InvalidInput(f"{what} {value!r} is not of the form {ID_PATTERN}", what=what)
    return value


def fitting(text: str, longest: int) -> str:
    """Return ``text``, or where it is too long (``longest`` > 33) its beginning and the digest of it all."""
    return text if len(text) <= longest else f"{text[: longest - 33]}.{derived_id(text)}"


def derived_id(*parts: str | int) -> str:
    """Return the 32 hex digits that stand for ``parts``: equal parts, equal id.

    Each part is preceded by its length, so that no two different sequences of parts meet.
    """
    sha = hashlib.sha256()
    for part in parts:
        data = str(part).encode()
        sha.update(len(data).to_bytes(4, "big"))
        sha.update(data)
    return sha.hexdigest()[:32]
