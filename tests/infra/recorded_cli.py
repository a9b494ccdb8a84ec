"""Stand-ins of ``az`` and ``azd`` on PATH.

They answer what was recorded, write down what they were asked, and refuse everything else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = """#!{python} -SE
import json, os, sys
folder, name = {folder!r}, {name!r}
asked = " ".join(sys.argv[1:])
with open(os.path.join(folder, "asked"), "a") as log:
    log.write(f"{{name}} {{asked}}\\n")
for start, answer in json.load(open(os.path.join(folder, name + ".json"))).items():
    if asked.startswith(start):
        if answer is None:
            sys.exit("ERROR: recorded to fail: " + start)
        print(answer)
        sys.exit(0)
sys.exit(f"ERROR: nothing is recorded for: {{name}} {{asked}}")
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
        program = self._folder / name
        program.write_text(_PROGRAM.format(python=sys.executable, folder=str(self._folder), name=name))
        program.chmod(0o755)
        (self._folder / f"{name}.json").write_text(json.dumps(answers))

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
