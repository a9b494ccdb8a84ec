"""What goes to standard output and standard error.

Text that comes from elsewhere (a model's words, a title) is shown without its control characters: it
could otherwise hide from an approver what it is that they approve.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from typing import Any


def clean(text: object) -> str:
    """Return the text with a replacement for whatever a terminal could take for more than text."""
    return "".join(
        sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}" for sign in str(text)
    )


def one_line(text: object) -> str:
    """Return the text in one line."""
    return clean(" ".join(str(text).split()))


def say(text: str = "") -> None:
    """Print a line for a person."""
    sys.stdout.write(f"{clean(text)}\n")
    sys.stdout.flush()


def document(value: Any) -> None:
    """Print one JSON document, for a program."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")
    sys.stdout.flush()


def json_line(value: Any) -> None:
    """Print one line of a stream of JSON values, at once."""
    sys.stdout.write(json.dumps(value, separators=(",", ":"), default=str) + "\n")
    sys.stdout.flush()


def complain(code: str, message: object) -> None:
    """Print an error: one line on standard error, its stable code in brackets."""
    with contextlib.suppress(OSError):  # it may be what the error is about
        sys.stdout.flush()
    sys.stderr.write(f"error: {one_line(message)} [{code}]\n")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns as wide as what stands in them."""
    lines = [list(head), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
