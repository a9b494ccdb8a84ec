"""`aos up`: a Functions app on this machine, without a cloud."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from aos.cli.machine import DEFAULT_DATA, check_state, first_key, place, require_runtime, with_keys
from aos.cli.output import document, say
from aos.cli.session import AsJson, wants_json
from aos.kernel.errors import InvalidInput, InvalidSetting

SCRIPT = "function_app.py"
_IMPORTS_AOS = re.compile(r"^\s*(from|import)\s+aos\b", re.MULTILINE)


def up(
    context: typer.Context,
    *,
    app: Annotated[
        Path | None,
        typer.Option("--app", metavar="DIR", help="The Functions app's folder.  [default: AOS itself]"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            help="Where to listen; 0 takes any free port.  [default: as local.settings.json says, else 7071]",
        ),
    ] = None,
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Where state is kept.")] = DEFAULT_DATA,
    verbose: Annotated[bool, typer.Option("--verbose", help="Tracebacks, and the libraries' logs.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            max=10,
            help="Worker processes.  [default: FUNCTIONS_WORKER_PROCESS_COUNT, else 1]",
        ),
    ] = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Load the app again whenever it was edited.")
    ] = False,
    enable_auth: Annotated[
        bool, typer.Option("--enable-auth", help="Ask callers for the keys that functions in Azure have.")
    ] = False,
    python: Annotated[
        Path | None,
        typer.Option(
            "--python",
            metavar="FILE",
            help="The interpreter of the app's own environment.  [default: the one that runs this]",
        ),
    ] = None,
    json: AsJson = False,
) -> int:
    """Serve AOS, or any Functions app, on this machine until Ctrl-C."""
    require_runtime()
    from aos.local.host import HostOptions, run_host  # noqa: PLC0415 - a second of imports, for this one alone

    folder = app or default_app()
    env: dict[str, str] = {}
    on_serving = None
    if _is_aos(folder):
        _adopt_settings(folder)
        env = place(data)
        check_state(data)
        on_serving = partial(_show_first_key, data, as_json=wants_json(context, json))
    return run_host(
        HostOptions(
            app=folder,
            data=data,
            port=port,
            env=env,
            verbose=verbose,
            on_serving=on_serving,
            workers=workers,
            reload=reload,
            enable_auth=enable_auth,
            python=python,
        )
    )


def default_app() -> Path:
    """Return the current folder if it holds a Functions app, else that of the installed AOS.

    Raises:
        InvalidInput: neither does.
    """
    import aos  # noqa: PLC0415 - for its place

    for folder in (Path.cwd(), Path(aos.__file__).resolve().parents[1]):
        if (folder / SCRIPT).is_file():
            return folder
    raise InvalidInput(f"there is no {SCRIPT} here: name the app's folder with --app")


def _is_aos(app: Path) -> bool:
    script = app / SCRIPT
    try:
        return _IMPORTS_AOS.search(script.read_text(errors="replace")) is not None
    except OSError:
        return False  # the host says what is wrong with it


def _adopt_settings(app: Path) -> None:
    """Take what the app's local.settings.json says into the environment, as the host does for the worker.

    Raises:
        InvalidSetting: the file cannot be read.
    """
    from aos.local.host import HostError  # noqa: PLC0415 - as above
    from aos.local.host.settings import local_settings  # noqa: PLC0415

    try:
        found = local_settings(app)
    except HostError as error:
        raise InvalidSetting(error.message) from error
    if "AOS_DATA" in found:
        found["AOS_DATA"] = str(app / found["AOS_DATA"])  # the worker's current folder is the app's
    for name, value in found.items():
        os.environ[name] = os.environ.get(name) or value


def _show_first_key(data: Path, *, as_json: bool) -> None:
    """Make and show the first key, once AOS serves: a start that is refused leaves none behind."""
    made = with_keys(data, first_key)
    if as_json:
        document({"key": made[0] if made else None})
    elif made:
        say(f"A first API key, with the roles {', '.join(made[1].roles)}. It is shown this once:")
        say(f"\n    export AOS_KEY={made[0]}\n")
