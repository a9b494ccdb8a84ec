"""Stand-ins of ``az`` and ``azd`` on PATH.

They answer what was recorded, write down what they were asked, and refuse everything else.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

_PROGRAM = """#!/bin/sh
printf '%s\\n' "{name} $*" >>{log}
case "$*" in
{answers}
esac
echo "ERROR: nothing is recorded for: {name} $*" >&2
exit 1
"""


@dataclass(frozen=True)
class Ran:
    """A script that ended."""

    code: int
    out: str
    err: str
    asked: list[str]


class RecordedCli:
    """Runs scripts with the stand-ins before everything else on PATH."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    def record(self, name: str, answers: Mapping[str, str | None]) -> None:
        """Let ``name`` answer whatever starts with a key; None: it fails."""
        cases = "\n".join(f"{quote(start)}*) {_answering(answer)} ;;" for start, answer in answers.items())
        log = quote(str(self._folder / "asked"))
        program = self._folder / name
        program.write_text(_PROGRAM.format(name=name, log=log, answers=cases))
        program.chmod(0o755)

    def run(self, script: Path, *arguments: str, cwd: Path, **environment: str) -> Ran:
        """Run a script with sh and with these variables beside PATH alone."""
        path = f"{self._folder}:{os.environ['PATH']}"
        log = self._folder / "asked"
        log.unlink(missing_ok=True)
        done = subprocess.run(
            ["sh", script, *arguments],
            cwd=cwd,
            env={"PATH": path, "HOME": str(cwd), **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        return Ran(
            done.returncode, done.stdout, done.stderr, log.read_text().splitlines() if log.exists() else []
        )


def _answering(answer: str | None) -> str:
    if answer is None:
        return "echo 'ERROR: recorded to fail' >&2; exit 1"
    return f"printf '%s\\n' {quote(answer)}; exit 0"
