"""Reading JSON so strictly that one value has one spelling.

A file whose every line reads back to the same bytes has no room for a change that goes unseen.
"""

from __future__ import annotations

import json
from typing import Any

from aos.kernel.canonical import Json, encode
from aos.kernel.errors import InvalidInput

MAX_DEPTH = 100
"""How deep a payload may nest."""


def decode(data: bytes, *, max_depth: int = MAX_DEPTH) -> Json:
    """Read a JSON value from its canonical encoding.

    Raises:
        ValueError: for anything else; the message says what is wrong.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        problem = error.msg.removesuffix(" at")
        raise ValueError(f"it is not JSON ({problem} at character {error.pos})") from error
    except RecursionError:
        raise ValueError("it nests too deeply") from None
    _check_depth(value, max_depth)
    try:
        canonical = encode(value)
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a surrogate pair") from error
    if canonical != data:
        raise ValueError("it is not in the canonical encoding")
    return value  # type: ignore[no-any-return]  # json.loads gives nothing else


def canonical_payload(value: Any) -> bytes:
    """Encode a payload so that ``decode`` will read it back.

    Raises:
        InvalidInput: for a value that JSON cannot hold, or that nests too deeply.
    """
    try:
        data = encode(value)
        decode(data)
    except (ValueError, TypeError, RecursionError) as error:
        reason = "it nests too deeply" if isinstance(error, RecursionError) else error
        raise InvalidInput(f"the payload of a fact cannot be recorded: {reason}") from error
    return data


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has the same key twice")
    return value


def _check_depth(value: Json, max_depth: int) -> None:
    """Level by level rather than by recursion, which a hostile value could exhaust."""
    level: list[Json] = [value]
    for _ in range(max_depth + 1):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise ValueError(f"it nests deeper than {max_depth} levels")


def _children(node: Json) -> list[Json]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []
