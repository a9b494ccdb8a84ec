"""The names and sizes that every backend takes: the narrowest of them, so that all behave alike.

The sizes follow from Azure. An entity holds 1 MiB and a transaction 100 entities in a 4 MiB request,
in which a value travels in base64 (four bytes for three). An append blob takes 50,000 blocks of 4 MiB.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aos.kernel import canonical
from aos.kernel.errors import InvalidInput, TooLarge
from aos.services.storage.ports import Ref

MAX_ROW_BYTES = 512 * 1024
MAX_BATCH_ROWS = 100
MAX_BATCH_BYTES = 2560 * 1024
MAX_PAGE_ROWS = 1000
MAX_BLOB_BYTES = 64 * 1024 * 1024
MAX_APPEND_BYTES = 4 * 1024 * 1024
MAX_APPENDS = 50_000

TABLE = re.compile(r"[a-z][a-z0-9]{2,40}")
NAME = re.compile(r"[A-Za-z0-9._~-]{1,200}")  # partitions and keys
CONTAINER = re.compile(r"(?=.{3,41}\Z)[a-z][a-z0-9]*(-[a-z0-9]+)*")
# Owners and logs become folders and parts of a URL: no capitals, no dot at either end.
OBJECT = re.compile(r"(?=.{1,200}\Z)[a-z0-9_~-]+(\.+[a-z0-9_~-]+)*")
SHA256 = re.compile(r"[0-9a-f]{64}")


def _check(pattern: re.Pattern[str], value: str, what: str) -> None:
    if not pattern.fullmatch(value):
        raise InvalidInput(f"{what} {value[:250]!r} is not of the form {pattern.pattern}", what=what)


def check_row(table: str, partition: str, key: str | None = None) -> None:
    """Refuse a table, partition or key that not every backend can hold."""
    _check(TABLE, table, "table")
    _check(NAME, partition, "partition")
    if key is not None:
        _check(NAME, key, "key")


def check_listing(table: str, partition: str, prefix: str, after: str | None, limit: int) -> None:
    """Refuse a listing that not every backend can answer."""
    check_row(table, partition, after)
    if prefix:
        _check(NAME, prefix, "prefix")
    if not 1 <= limit <= MAX_PAGE_ROWS:
        raise InvalidInput(f"limit {limit} is not between 1 and {MAX_PAGE_ROWS}", what="limit")


def check_blob(container: str, owner: str, ref: Ref | None = None) -> None:
    """Refuse a container, owner or reference that not every backend can hold."""
    _check(CONTAINER, container, "container")
    _check(OBJECT, owner, "owner")
    if ref is not None:
        _check(SHA256, ref.sha256, "sha256")


def check_blob_size(size: int) -> None:
    """Refuse a value that is too large to be held in memory."""
    _check_size("a stored value", size, MAX_BLOB_BYTES)


def check_log(log: str) -> None:
    """Refuse a name of a log that not every backend can hold."""
    _check(OBJECT, log, "log")


def check_append(log: str, expected_size: int, size: int) -> None:
    """Refuse an append that not every backend can make."""
    check_log(log)
    if expected_size < 0 or size == 0:
        raise InvalidInput(f"an append of {size} bytes at {expected_size} to log {log!r}", log=log)
    _check_size(f"an append to log {log!r}", size, MAX_APPEND_BYTES)


def check_span(log: str, offset: int, limit: int | None) -> None:
    """Refuse to read a negative part of a log."""
    check_log(log)
    if offset < 0 or (limit is not None and limit < 0):
        raise InvalidInput(f"no such part of log {log!r}: offset {offset}, limit {limit}", log=log)


def check_appends(log: str, appends: int) -> None:
    """Refuse one append more than a log can take, when it has had ``appends``."""
    if appends >= MAX_APPENDS:
        raise TooLarge(f"log {log!r} has had the {MAX_APPENDS} appends that it can take", log=log)


def encode_row(value: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON of a row's value.

    Raises:
        InvalidInput: it is not a JSON object.
        TooLarge: it has more than ``MAX_ROW_BYTES`` bytes.
    """
    try:
        data = canonical.encode(dict(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"a row's value is not a JSON object: {error}") from error
    _check_size("a row's value", len(data), MAX_ROW_BYTES)
    return data


def encode_rows(table: str, partition: str, values: Mapping[str, Mapping[str, Any]]) -> dict[str, bytes]:
    """Check the rows of one transaction; return the canonical JSON of each by key."""
    check_row(table, partition)
    if len(values) > MAX_BATCH_ROWS:
        raise TooLarge(f"{len(values)} rows in one transaction; the limit is {MAX_BATCH_ROWS}")
    encoded = {}
    for key, value in values.items():
        check_row(table, partition, key)
        encoded[key] = encode_row(value)
    _check_size("a transaction", sum(map(len, encoded.values())), MAX_BATCH_BYTES)
    return encoded


def _check_size(what: str, size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"{what} of {size} bytes; the limit is {limit}", size=size, limit=limit)
