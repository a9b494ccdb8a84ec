"""Why something failed, short enough to be kept wherever a reason is kept."""

from __future__ import annotations

LONGEST = 2000
"""In characters: rows, histories and records hold many of them."""


def excerpt(text: str) -> str:
    """Return the text, cut if it is long; half surrogate pairs, which no row holds, are replaced."""
    whole = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    return whole.encode("utf-8", "replace").decode()


def short(reason: str | None) -> str | None:
    """Return the excerpt of a reason, if there is one."""
    return None if reason is None else excerpt(reason)
