"""Files that a person names: read and written with errors that name them."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from aos.kernel.errors import InvalidInput

STANDARD = "-"
"""The name that stands for standard input or output."""


def read_bytes(name: str) -> bytes:
    """Return what is in the file, or in standard input for ``-``.

    Raises:
        InvalidInput: it cannot be read.
    """
    try:
        return sys.stdin.buffer.read() if name == STANDARD else Path(name).read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {name}: {error.strerror or error}", file=name) from error


def read_json_object(name: str) -> dict[str, Any]:
    """Return the JSON object in the file.

    Raises:
        InvalidInput: it cannot be read, or holds something else.
    """
    where = "standard input" if name == STANDARD else name
    try:
        value = json.loads(read_bytes(name))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{where} is not JSON: {error}", file=name) from error
    if not isinstance(value, dict):
        raise InvalidInput(f"{where} must hold a JSON object", file=name)
    return value


def write_bytes(name: str, data: bytes) -> None:
    """Write the file as a whole or not at all; ``-`` is standard output.

    Raises:
        InvalidInput: it cannot be written.
    """
    if name == STANDARD:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    path = Path(name)
    try:
        if path.exists() and not path.is_file():  # a device or a pipe, which nothing may replace
            path.write_bytes(data)
        else:
            _replace(path, data)
    except OSError as error:
        raise InvalidInput(f"cannot write {name}: {error.strerror or error}", file=name) from error


def _replace(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
