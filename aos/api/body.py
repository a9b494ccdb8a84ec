"""Request bodies: read up to a limit, as JSON that means one thing, into a model.

The body is read by a dependency that comes after the caller's own, so nobody without a key and a role
makes the server read anything.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request
from pydantic import BaseModel, ValidationError

from aos.api.problems import MalformedBody, UnsupportedMediaType, invalid
from aos.kernel.errors import TooLarge

MAX_BODY_BYTES = 512 * 1024
MAX_DEPTH = 64


def json_body[M: BaseModel](model: type[M]) -> Callable[[Request], Awaitable[M]]:
    """Return a dependency that reads the body as ``model``.

    Raises:
        UnsupportedMediaType: the body is not said to be JSON.
        TooLarge: it is over ``MAX_BODY_BYTES``; the rest is not read.
        MalformedBody: it is not JSON, or JSON that readers could take for different things.
        InvalidInput: it does not fit the model.
    """

    async def read(request: Request) -> M:
        _check_type(request)
        value = parse_json(await _bytes(request))
        try:
            return model.model_validate(value)
        except ValidationError as error:
            raise invalid(error.errors(include_url=False), "body") from None

    return read


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the part of an operation's description that says what its body is."""
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


def parse_json(data: bytes) -> Any:
    """Parse JSON as RFC 8259 and I-JSON (RFC 7493) have it.

    Raises:
        MalformedBody: what is not JSON in UTF-8; a name that stands twice in an object; NaN, an infinity
            or a number that overflows; half a surrogate pair; a nesting over ``MAX_DEPTH``.
    """
    try:
        value = json.loads(
            data.decode(), object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite
        )
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not UTF-8 at byte {error.start}") from None
    except UnicodeEncodeError:
        raise MalformedBody("the body holds half a surrogate pair") from None
    except json.JSONDecodeError as error:
        raise MalformedBody(
            f"the body is not JSON: {error.msg}", line=error.lineno, column=error.colno
        ) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # all else was named above: Python does not read an integer of thousands of digits
        raise MalformedBody("the body holds a number of too many digits") from None
    _check_depth(value)
    return value


def _check_type(request: Request) -> None:
    given = request.headers.get("content-type", "")
    kind, _, parameters = given.partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if kind.strip().lower() != "application/json" or charset not in ("", "utf-8", "utf8"):
        raise UnsupportedMediaType(
            f"the body must be application/json in UTF-8, not {given[:100] or 'of no type'!r}"
        )


async def _bytes(request: Request) -> bytes:
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
    return bytes(body)


def _too_large() -> TooLarge:
    return TooLarge(f"the body is over the limit of {MAX_BODY_BYTES} bytes", limit=MAX_BODY_BYTES)


def _too_deep() -> MalformedBody:
    return MalformedBody(f"the body is nested deeper than {MAX_DEPTH} levels", limit=MAX_DEPTH)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for name, inner in pairs:
        if name in value:
            raise MalformedBody(f"the name {name[:100]!r} stands twice in one object", name=name[:100])
        value[name] = inner
    return value


def _no_constant(name: str) -> Any:
    raise MalformedBody(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise MalformedBody(f"the number {text[:50]} is too large")
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise _too_deep()
