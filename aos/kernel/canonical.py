"""One encoding of a JSON value as bytes, so that equal values have equal hashes.

Keys are sorted by code point, there is no white space, text is UTF-8, and NaN and the infinities
are refused. It is RFC 8785 but for numbers, which are written as Python writes them.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

type Json = bool | int | float | str | list["Json"] | dict[str, "Json"] | None


def encode(value: Any) -> bytes:
    """Encode a JSON value canonically.

    Raises:
        ValueError: for NaN or an infinity.
        TypeError: for a value that JSON cannot hold.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical encoding, in lower-case hex."""
    return hashlib.sha256(encode(value)).hexdigest()
