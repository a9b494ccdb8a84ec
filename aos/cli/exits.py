"""The exit codes, by what they mean to a script."""

from __future__ import annotations

from enum import IntEnum

from aos.kernel import errors
from aos.kernel.errors import AosError


class ExitCode(IntEnum):
    """How the command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    DENIED = 4
    CONFLICT = 5
    UNAVAILABLE = 6
    INTERRUPTED = 130
    UNREAD = 141


MEANINGS = {
    ExitCode.OK: "it is done, and what was asked about is in order",
    ExitCode.FAILED: "the run failed or was cancelled, or a file was refused (audit verify, validate)",
    ExitCode.USAGE: "wrong usage, input or setting, or a file that cannot be read or written",
    ExitCode.NOT_FOUND: "there is no such run, workflow, step or key",
    ExitCode.DENIED: "not authenticated, or denied by a role or a policy",
    ExitCode.CONFLICT: "it is not in the state that this supposes; nothing was changed",
    ExitCode.UNAVAILABLE: "AOS does not answer",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C",
    ExitCode.UNREAD: "nobody reads the output any more",
}

_OF_ERROR: dict[type[AosError], ExitCode] = {
    errors.NotFound: ExitCode.NOT_FOUND,
    errors.Unauthenticated: ExitCode.DENIED,
    errors.Forbidden: ExitCode.DENIED,
    errors.PolicyDenied: ExitCode.DENIED,
    errors.Conflict: ExitCode.CONFLICT,
    errors.Unavailable: ExitCode.UNAVAILABLE,
    errors.InvalidInput: ExitCode.USAGE,
}


def exit_code_of(error: AosError) -> ExitCode:
    """Return the exit code that stands for an error."""
    return next((_OF_ERROR[kind] for kind in type(error).__mro__ if kind in _OF_ERROR), ExitCode.FAILED)
