"""Small files that are either the old or the new one, whatever happens while they are written."""

import os
from pathlib import Path


def replace_file(path: Path, content: str, *, mode: int = 0o644) -> None:
    """Put `content` in the place of `path` once it is on the disk; `OSError` leaves what was there."""
    scratch = path.with_name(path.name + ".tmp")
    scratch.unlink(missing_ok=True)  # of a host that was killed here
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
