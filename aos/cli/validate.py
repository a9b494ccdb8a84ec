"""Checking a workflow before anybody runs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aos.cli.exits import ExitCode
from aos.cli.files import read_bytes
from aos.cli.output import complain, document, one_line, say
from aos.cli.session import AsJson, wants_json
from aos.kernel.errors import AosError, InvalidDefinition, InvalidSetting

if TYPE_CHECKING:
    from aos.kernel.workflows.definition import Catalog

DEFAULT_APPLICATION = "apps.leadership"


def validate(
    context: typer.Context,
    *,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A workflow in YAML or JSON; - is standard input.")
    ],
    json: AsJson = False,
) -> int:
    """Check a workflow offline, against the agents and tools of AOS_APPLICATION; list every problem."""
    from aos.kernel.workflows.definition import parse  # noqa: PLC0415 - 0.2 s that `--help` does not need

    source, as_json = read_bytes(file), wants_json(context, json)
    try:
        definition = parse(source, _catalog())
    except InvalidDefinition as error:
        problems = error.details.get("problems", [])
        document({"valid": False, "problems": problems}) if as_json else _list(file, problems)
        complain(error.code, f"{file} has {len(problems)} problem{'' if len(problems) == 1 else 's'}")
        return ExitCode.FAILED
    if as_json:
        document({"valid": True, "workflow": definition.name, "steps": len(definition.steps)})
    else:
        say(f"{file}: workflow {definition.name} with {len(definition.steps)} steps is valid")
    return ExitCode.OK


def _list(file: str, problems: list[dict[str, Any]]) -> None:
    for problem in problems:
        where = f"step {problem['step']}, field" if problem["step"] else "field"
        say(one_line(f"{file}: {where} {problem['field']}: {problem['message']}"))


def _catalog() -> Catalog:
    """Return the names of the application's agents and tools.

    Raises:
        InvalidSetting: the application cannot be loaded.
    """
    from aos.kernel.workflows.definition import Catalog  # noqa: PLC0415 - as above
    from aos.sdk import load_application  # noqa: PLC0415

    name = os.environ.get("AOS_APPLICATION") or DEFAULT_APPLICATION
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does, and the Functions worker
    try:
        application = load_application(name)
    except AosError:
        raise
    except Exception as error:
        raise InvalidSetting(
            f"application {name!r} does not load: {type(error).__name__}: {error}"
        ) from error
    return Catalog(
        agents={agent.name for agent in application.agents}, tools={tool.name for tool in application.tools}
    )
