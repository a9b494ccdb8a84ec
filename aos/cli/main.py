"""The entry point: the commands, and one way for all of them to end."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from aos.cli import agents, audit, decisions, keys, runs, up, validate
from aos.cli.demo import command as demo
from aos.cli.exits import MEANINGS, ExitCode, exit_code_of
from aos.cli.output import complain
from aos.cli.session import AsJson, Defaults, Url
from aos.kernel.errors import AosError

_EPILOG = "Exit codes: " + "; ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items()) + "."

app = typer.Typer(
    name="aos",
    help="An operating system for AI agents. The API key is taken from AOS_KEY.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: it starts five times as fast
)
_COMMANDS: dict[str, Callable[..., int]] = {
    "up": up.up,
    **runs.COMMANDS,
    "approve": decisions.approve,
    "resolve": decisions.resolve,
    "dossier": audit.save_dossier,
    "validate": validate.validate,
    "agents": agents.list_agents,
    "demo": demo.demo,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)
app.add_typer(audit.audit, name="audit")
app.add_typer(keys.keys, name="key")


@app.callback()
def _before(context: typer.Context, *, url: Url = None, json: AsJson = False) -> None:
    context.obj = Defaults(url, json)


def main() -> None:
    """Run the command that was typed, and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command; return its exit code. Whatever goes wrong is one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without the character
    try:
        result: Any = typer.main.get_command(app)(arguments, prog_name="aos", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except AosError as error:
        complain(error.code, error.message)
        return exit_code_of(error)
    except typer.TyperException as error:
        return _misused(error)
    except (BrokenPipeError, SystemExit):  # typer makes the second out of the first, and out of nothing else
        return _unread()
    except OSError as error:
        complain("unusable_file", error)
        _discard_output()  # it may be what cannot be written: Python would try again at its end
        return ExitCode.USAGE
    except Exception as error:  # noqa: BLE001 - a fault of ours still ends in one line and a code
        complain(AosError.code, f"{type(error).__name__}: {error}")
        return ExitCode.FAILED
    return int(result or ExitCode.OK)


def _misused(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "aos"
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{context.get_help() if context else ''}\n")
    else:
        complain("usage", f"{error.format_message().rstrip('.')}; see `{command} --help`")
    return ExitCode.USAGE


def _unread() -> int:
    """Nobody reads standard output any more, as behind `| head`: nothing is left to flush, or to say."""
    _discard_output()
    return ExitCode.UNREAD


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
