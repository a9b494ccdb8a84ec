"""Pages of lists: where the next one begins travels in a header, encoded."""

import base64
import binascii
from typing import Any

from aiohttp import web

from aos.local.host.answers import BadRequest, document

_HEADER = "x-ms-continuation-token"


def token_of(request: web.BaseRequest) -> str | None:
    """Where the page asked for begins."""
    value = request.headers.get(_HEADER)
    if not value:
        return None
    try:
        return base64.b64decode(value.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error) as cause:
        raise BadRequest(f"the header {_HEADER} must be one that an earlier answer gave") from cause


def paged(found: list[Any], token: str | None) -> web.Response:
    """A page, and how to ask for the next one if there is more."""
    if token is None:
        return document(200, found)
    return document(200, found, {_HEADER: base64.urlsafe_b64encode(token.encode()).decode()})
