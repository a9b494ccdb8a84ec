"""Google style docstrings: the text for the reader, and the descriptions under ``Args:``."""

from __future__ import annotations

import re

_SECTION = re.compile(
    r"^(Args|Arguments|Returns|Raises|Yields|Example|Examples|Note|Notes):\s*$", re.MULTILINE
)
_PARAMETER = re.compile(r"^(\w+)(?: \([^)]*\))?:\s*(.*)$")


def summary(docstring: str) -> str:
    """Return what comes before the first section, with its paragraphs unwrapped."""
    section = _SECTION.search(docstring)
    text = docstring[: section.start()] if section else docstring
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def parameter_descriptions(docstring: str) -> dict[str, str]:
    """Return the description of each parameter listed under ``Args:``, unwrapped."""
    sections = {match.group(1): match for match in _SECTION.finditer(docstring)}
    args = sections.get("Args") or sections.get("Arguments")
    if args is None:
        return {}
    found: dict[str, str] = {}
    name, margin = "", -1
    for line in docstring[args.end() :].splitlines():
        text, indent = line.strip(), len(line) - len(line.lstrip())
        if text and indent == 0:
            break
        margin = indent if text and margin < 0 else margin
        match = _PARAMETER.match(text) if indent == margin else None
        if match:
            name = match.group(1)
            found[name] = match.group(2)
        elif text and name:
            found[name] = f"{found[name]} {text}".strip()
    return found
