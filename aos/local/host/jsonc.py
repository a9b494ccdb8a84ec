"""JSON as the settings files of Functions have it: with comments, and commas before closing brackets."""

import json
import re
from typing import Any

_STRING = r'"(?:\\.|[^"\\])*"'
_COMMENT = re.compile(rf"{_STRING}|//[^\n]*|/\*.*?\*/", re.DOTALL)
_COMMA = re.compile(rf"{_STRING}|,(?=\s*[}}\]])", re.DOTALL)


def loads(text: str) -> Any:
    """The value; `json.JSONDecodeError` with lines and columns of `text`."""
    return json.loads(_COMMA.sub(_blank, _COMMENT.sub(_blank, text)))


def _blank(match: re.Match[str]) -> str:
    """Strings stay; what else was found becomes space, line by line."""
    found = match.group()
    return found if found.startswith('"') else re.sub(r"[^\n]", " ", found)
