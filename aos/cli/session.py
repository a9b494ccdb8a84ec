"""What every command is told, and how it reaches AOS."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from aos.kernel.errors import InvalidSetting, Unauthenticated

if TYPE_CHECKING:
    from aos.sdk.client import AosClient

DEFAULT_URL = "http://127.0.0.1:7071"

Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help=f"Where AOS is.  [AOS_URL, else {DEFAULT_URL}]")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]


@dataclass(frozen=True, slots=True)
class Defaults:
    """What stands before the command's name."""

    url: str | None = None
    json: bool = False


def wants_json(context: typer.Context, json: bool) -> bool:
    """Whether ``--json`` was given, before the command's name or after it."""
    return json or (isinstance(context.obj, Defaults) and context.obj.json)


def ask[T](context: typer.Context, url: str | None, work: Callable[[AosClient], Awaitable[T]]) -> T:
    """Do the work with a client of the API; the key is taken from ``AOS_KEY``.

    Raises:
        InvalidSetting: the URL or the key cannot be one.
        AosError: what the API answered.
    """
    before = context.obj.url if isinstance(context.obj, Defaults) else None
    where = url or before or os.environ.get("AOS_URL") or DEFAULT_URL
    _check_url(where)
    key = os.environ.get("AOS_KEY") or None
    if key is not None and not (key.isascii() and key.isprintable()):
        raise InvalidSetting("AOS_KEY is not an API key")
    return asyncio.run(_with_client(where, key, work))


async def _with_client[T](url: str, key: str | None, work: Callable[[AosClient], Awaitable[T]]) -> T:
    from aos.sdk.client import AosClient  # noqa: PLC0415 - a tenth of a second, which `--help` does not need

    async with AosClient(url, key) as client:
        try:
            return await work(client)
        except Unauthenticated as error:
            hint = "AOS_KEY is not set" if key is None else "the key in AOS_KEY is refused"
            raise Unauthenticated(f"{hint}: {error.message}", **error.details) from error


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:
        wrong = True
    if wrong or not url.isascii() or not url.isprintable():
        raise InvalidSetting(f"{url!r} is not the URL of a server, such as {DEFAULT_URL}")
