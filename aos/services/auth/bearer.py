"""Which of the two a bearer brings: an API key, or a token of a directory."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


def is_token(text: str) -> bool:
    """Whether the text has the form of a JSON Web Token, and not that of an API key."""
    return _TOKEN.fullmatch(text) is not None
