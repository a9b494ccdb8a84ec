"""Every error as a problem document (RFC 9457), and how the description of the API tells of them."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aos.api.models import NOT_BLANK
from aos.kernel import errors
from aos.kernel.errors import AosError, InvalidInput

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
_SHOWN_PROBLEMS = 20
_log = logging.getLogger(__name__)


class MalformedBody(InvalidInput):
    """The body is not JSON, or not JSON that means one thing."""

    code = "malformed_body"


class UnsupportedMediaType(InvalidInput):
    """The body is not of a type that is taken here."""

    code = "unsupported_media_type"


_STATUS: Mapping[type[AosError], HTTPStatus] = {
    MalformedBody: HTTPStatus.BAD_REQUEST,
    UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.TooLarge: HTTPStatus.CONTENT_TOO_LARGE,
    errors.InvalidSetting: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.InvalidInput: HTTPStatus.UNPROCESSABLE_CONTENT,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.PolicyDenied: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.BudgetExceeded: HTTPStatus.PAYMENT_REQUIRED,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ReadOnly: HTTPStatus.SERVICE_UNAVAILABLE,
}
_CHALLENGED = {
    "headers": {
        "WWW-Authenticate": {
            "description": "As RFC 6750 has it: `invalid_token` for a key or token that opens nothing,"
            " `insufficient_scope` for one without the role",
            "schema": {"type": "string"},
        }
    }
}
_HEADERS: Mapping[int, dict[str, Any]] = {
    HTTPStatus.UNAUTHORIZED: _CHALLENGED,
    HTTPStatus.FORBIDDEN: _CHALLENGED,
}
_STANDARD = frozenset({"type", "title", "status", "detail", "instance", "code"})
_CODES = {
    HTTPStatus.NOT_FOUND: errors.NotFound.code,
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
}
_INTERNAL = "something went wrong in AOS; its log says what under this error id"
_UNAVAILABLE = "something that AOS depends on does not answer now; the same call may succeed later"


class Problem(BaseModel):
    """A problem document; further members carry the ids needed to act."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:aos:problem:not_found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no workflow 'audit'; there is strategic-review"])
    instance: str = Field(examples=["/api/workflows/audit"])
    code: str = Field(description="Stable, for programs", examples=["not_found"])


def problem(
    request: Request | Scope,
    status: int,
    code: str,
    detail: str,
    *,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a problem as a response. A detail never takes the place of a standard member."""
    document = {
        "type": f"urn:aos:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
        "instance": request["path"],
        "code": code,
        **{name: value for name, value in (details or {}).items() if name not in _STANDARD},
    }
    # The path and what callers sent may hold half surrogate pairs: escaped, they are harmless.
    return Response(json.dumps(document, default=str), status, headers, MEDIA_TYPE)


def aos_problem(request: Request | Scope, error: AosError) -> Response:
    """Return the problem that an error of AOS is; one on our side says nothing of our inside."""
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), None)
    if status is None or status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return internal_problem(request, error, error.code)
    if isinstance(error, errors.Unavailable):
        _log.warning("%s %s: %s", request.get("method"), request["path"], error)
        return problem(request, status, error.code, _UNAVAILABLE, headers={"Retry-After": str(RETRY_AFTER_S)})
    headers = _challenge(request, status)
    return problem(request, status, error.code, error.message, details=error.details, headers=headers)


def _challenge(request: Request | Scope, status: HTTPStatus) -> dict[str, str] | None:
    """What RFC 6750 has beside a refusal; who brought nothing, or another scheme, is told of no error."""
    realm = 'Bearer realm="aos"'
    if status is HTTPStatus.FORBIDDEN:
        return {"WWW-Authenticate": f'{realm}, error="insufficient_scope"'}
    if status is not HTTPStatus.UNAUTHORIZED:
        return None
    brought = any(
        name == b"authorization" and value.lower().startswith(b"bearer ")
        for name, value in request["headers"]
    )
    return {"WWW-Authenticate": f'{realm}, error="invalid_token"' if brought else realm}


def internal_problem(request: Request | Scope, error: Exception, code: str = AosError.code) -> Response:
    """Log an error that nobody expected, and return a problem with the id under which it was logged."""
    error_id = secrets.token_hex(8)
    _log.error("error %s at %s %s", error_id, request.get("method"), request["path"], exc_info=error)
    status, details = HTTPStatus.INTERNAL_SERVER_ERROR, {"error_id": error_id}
    return problem(request, status, code, _INTERNAL, details=details)


def invalid(found: Iterable[Any], *place: str) -> InvalidInput:
    """Return what a validation found as an error; ``place`` goes before the locations.

    Its problems say ``in`` what (body, query, path or header), ``at`` which JSON pointer into it, and
    with which message.
    """
    problems = []
    for item in list(found)[:_SHOWN_PROBLEMS]:
        location = place + tuple(item["loc"])
        problems.append({"in": location[0], "at": _pointer(location[1:]), "message": _message(item)})
    first = problems[0]
    at = f" at {first['at']}" if first["at"] else ""
    return InvalidInput(f"the {first['in']} is not valid{at}: {first['message']}", problems=problems)


def _message(item: Mapping[str, Any]) -> str:
    """Return what is wrong in words of JSON, where pydantic's are of Python or of patterns."""
    if item["type"] in {"model_type", "dict_type"}:
        return "Input should be an object"
    if item.get("ctx", {}).get("pattern") == NOT_BLANK:
        return "Input should not be blank"
    return str(item["msg"])


def _pointer(location: Iterable[str | int]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


async def _on_aos_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AosError)
    return aos_problem(request, error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = f"there is nothing at {request.url.path}"
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.url.path} does not take {request.method}"
    elif status is not HTTPStatus.NOT_FOUND:
        detail = str(error.detail)
    return problem(request, status, _CODES.get(status, status.name.lower()), detail, headers=error.headers)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return aos_problem(request, invalid(error.errors()))


class UnexpectedErrors:
    """Answers with a problem when the app raises what nobody expected.

    Starlette's own handler raises the error again after it answered, which would make a Functions
    invocation fail that was answered.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the app (ASGI)."""
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            return  # nobody is there to be answered
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            await internal_problem(scope, error)(scope, receive, send)


def handle_errors(app: FastAPI) -> None:
    """Have the app answer every error with a problem."""
    app.add_exception_handler(AosError, _on_aos_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_middleware(UnexpectedErrors)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the part of an operation's description that says which problems it may answer with."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content, **_HEADERS.get(status, {})}
        for status in sorted({*statuses, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE})
    }
