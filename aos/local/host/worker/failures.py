"""What a function raised, kept as an exception until it is described to the host.

The library reports a failure as `repr(exception)`; the type and message that the durable hub, the
log line and the caller need are taken from the exception itself.
"""

import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

from aos.local.host.worker.runtime import handle_event, invocation_id_cv

_raised: dict[str, tuple[BaseException, TracebackType | None]] = {}


class FunctionExitedError(RuntimeError):
    """A function called `sys.exit`: it fails, the worker goes on."""


def record_failures() -> None:
    """Make every loaded function leave what it raises where `failure_of` finds it."""
    functions = handle_event._functions._functions
    for function_id, info in functions.items():
        wrap = _recording_async if info.is_async else _recording
        functions[function_id] = info._replace(func=wrap(info.func))


def failure_of(invocation_id: str, text: str = "", trace: str = "") -> dict[str, str]:
    """Describe why an invocation failed; `text` and `trace` are the library's own words for it."""
    kept = _raised.pop(invocation_id, None)
    if kept is not None:
        return describe(*kept)
    kind, _, message = (trace.strip().rpartition("\n")[2] or text).partition(": ")
    return {"type": kind.rpartition(".")[2], "message": message, "trace": trace}


def failure_from(invocation_id: str, error: BaseException) -> dict[str, str]:
    """Describe `error`; when the function itself raised it, without the frames of those who passed it on."""
    kept = _raised.pop(invocation_id, None)
    return describe(*kept) if kept is not None and kept[0] is error else describe(error)


def forget(invocation_id: str) -> None:
    """Drop what a finished invocation may have raised and handled."""
    _raised.pop(invocation_id, None)


def describe(error: BaseException, trace: TracebackType | None = None) -> dict[str, str]:
    """An exception's unqualified type, message and traceback."""
    lines = traceback.format_exception(type(error), error, trace or error.__traceback__)
    return {"type": type(error).__name__, "message": _message(error), "trace": _text("".join(lines))}


def _message(error: BaseException) -> str:
    try:
        return _text(str(error))
    except Exception:  # noqa: BLE001 - an exception that cannot be printed still has to be reported
        return "<the exception's __str__ failed>"


def _text(text: str) -> str:
    """Text that every receiver can encode: no lone surrogates."""
    return text.encode("utf-8", "replace").decode()


def _recording(function: Callable[..., Any]) -> Callable[..., Any]:
    def recorded(**arguments: Any) -> Any:
        try:
            return function(**arguments)
        except SystemExit as exit_:
            raise _keep(FunctionExitedError(f"the function called sys.exit({exit_.code!r})")) from exit_
        except Exception as error:
            _keep(error)
            raise

    return recorded


def _recording_async(function: Callable[..., Any]) -> Callable[..., Any]:
    async def recorded(**arguments: Any) -> Any:
        try:
            return await function(**arguments)
        except SystemExit as exit_:
            raise _keep(FunctionExitedError(f"the function called sys.exit({exit_.code!r})")) from exit_
        except Exception as error:
            _keep(error)
            raise

    return recorded


def _keep(error: Exception) -> Exception:
    invocation_id = invocation_id_cv.get()
    if invocation_id is not None:
        trace = error.__traceback__
        _raised[invocation_id] = error, trace.tb_next if trace is not None else None
    return error
