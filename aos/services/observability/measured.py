"""Storage that counts and times its operations."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aos.kernel.errors import AosError, Unavailable
from aos.services.observability.metrics import STORAGE_ERRORS, STORAGE_LATENCY, STORAGE_OPERATIONS
from aos.services.storage.ports import Blobs, Logs, Rows
from aos.services.storage.storage import Storage

_ROWS = ("insert", "insert_many", "get", "replace", "upsert", "delete", "list")
_BLOBS = ("put", "get", "delete", "delete_owner")
_LOGS = ("append", "read", "size", "delete")


def measured(storage: Storage) -> Storage:
    """Return the same storage, seen by the metrics."""
    return Storage(
        cast("Rows", _Measured("rows", storage.rows, _ROWS)),
        cast("Blobs", _Measured("blobs", storage.blobs, _BLOBS)),
        cast("Logs", _Measured("logs", storage.logs, _LOGS)),
        storage.close,
    )


class _Measured:
    """A store's port with each operation wrapped."""

    def __init__(self, store: str, inner: Rows | Blobs | Logs, operations: tuple[str, ...]) -> None:
        for name in operations:
            setattr(self, name, _timed(store, name, getattr(inner, name)))


def _timed(store: str, name: str, operation: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    attributes = {"store": store, "operation": name}

    @functools.wraps(operation)
    async def timed(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return await operation(*args, **kwargs)
        except Exception as error:
            # A conflict or a missing value is an answer; that nothing was answered is an error.
            if isinstance(error, Unavailable) or not isinstance(error, AosError):
                STORAGE_ERRORS.add(1, attributes | {"error.type": type(error).__name__})
            raise
        finally:
            STORAGE_OPERATIONS.add(1, attributes)
            STORAGE_LATENCY.record(time.perf_counter() - started, attributes)

    return timed
