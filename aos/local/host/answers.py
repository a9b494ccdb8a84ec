"""What the host itself answers, and the bodies of requests to it."""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

LARGEST_BODY = 100 * 1024 * 1024
"""What the Functions host takes at most, unless it is told otherwise."""


class BadRequest(Exception):
    """The request cannot be understood; the message says what is wrong with it."""


def empty(status: int) -> web.Response:
    """An answer without a body."""
    return web.Response(status=status)


def document(status: int, value: Any, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer of JSON."""
    return web.json_response(value, status=status, headers=headers)


def error(status: int, message: str) -> web.Response:
    """An answer that says what is wrong."""
    return document(status, {"Message": message})


async def body_of(request: web.BaseRequest) -> str:
    """The request's body as text; `BadRequest` when it is not, or is too large."""
    pieces = bytearray()
    async for piece in request.content.iter_any():
        pieces += piece
        if len(pieces) > LARGEST_BODY:
            raise BadRequest(f"the body is larger than {LARGEST_BODY} bytes")
    try:
        return pieces.decode()
    except UnicodeDecodeError as cause:
        raise BadRequest("the body is not UTF-8") from cause


def json_of(body: str) -> str:
    """The body when it is JSON; `BadRequest` says where it is not."""
    try:
        json.loads(body, parse_constant=_no_constant)
    except ValueError as cause:
        raise BadRequest(f"Invalid JSON content: {cause}") from cause
    return body


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
