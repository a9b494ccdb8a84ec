"""Loading the app with Microsoft's worker library, and saying plainly why it cannot be loaded."""

import functools
import importlib.metadata
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from aos.local.host.worker.runtime import (
    FunctionLoadError,
    HttpV2Registry,
    handle_event,
    load_binding_registry,
    start_threadpool_executor,
)

_DURABLE = "azure-functions-durable"
_DURABLE_MODULE = "azure.durable_functions"
_DURABLE_HTTP = "azure.durable_functions.http.builtin"


class Message:
    """Stands where the library expects one of its protobuf messages."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 - protobuf's own name
        """The field that is set; a binding's name is not one of the alternatives."""
        return next((field for field in self.__dict__ if field != "name"), None)


class _BindingInfo(Message):
    undefined, out, inout = 0, 1, 2


class _StatusResult(Message):
    Failure, Success = 0, 1


class Protos:
    """The messages that the library builds; it takes them from whoever embeds it."""

    BindingInfo = _BindingInfo
    StatusResult = _StatusResult
    RpcFunctionMetadata = Message
    RpcRetryOptions = Message
    RpcException = Message
    InvocationResponse = Message
    ParameterBinding = Message
    TypedData = Message


class AppRefusedError(Exception):
    """The app cannot be loaded: one line that names function, file and reason, and the traceback."""

    def __init__(self, message: str, trace: str) -> None:
        super().__init__(message)
        self.message = message
        self.trace = trace


def load_app(app: Path) -> list[dict[str, Any]]:
    """Index `function_app.py`; each function as its name, id, bindings and retry policy."""
    # The durable SDK asks for its own version each time it opens a client: 15 % of all CPU, once measured.
    importlib.metadata.version = functools.lru_cache(importlib.metadata.version)
    sys.path.insert(0, str(app))
    os.chdir(app)
    start_threadpool_executor()
    handle_event.protos = Protos
    try:
        load_binding_registry()
        handle_event.load_function_metadata(str(app), caller_info="aos.local.host")
    except Exception as error:
        raise AppRefusedError(_reason(error, app), _trace(error)) from error
    except SystemExit as error:
        raise AppRefusedError("the app ended the process while it was being loaded", _trace(error)) from error
    _refuse_older_durable()
    return [_describe(function) for function in handle_event._metadata_result or []]


def _refuse_older_durable() -> None:
    """Version 1 of the durable SDK speaks another protocol: its orchestrators would fail one by one."""
    if _DURABLE_MODULE not in sys.modules:
        return
    try:
        version = importlib.metadata.version(_DURABLE)
    except importlib.metadata.PackageNotFoundError:
        return  # it was not installed as a package: nobody knows its version
    if int(version.partition(".")[0]) < 2:
        raise AppRefusedError(
            f"{_DURABLE} {version} is installed, and this host needs version 2, which runs apps written for"
            f" version 1 too: install '{_DURABLE}>=2.0.0rc3'",
            "",
        )


def poll_http_every(seconds: float) -> None:
    """How long durable HTTP calls wait where a 202 does not say: the SDK polls each second otherwise."""
    if _DURABLE_HTTP in sys.modules:
        sys.modules[_DURABLE_HTTP]._DEFAULT_POLL_INTERVAL_SECONDS = seconds  # type: ignore[attr-defined]


def uses_http_v2() -> bool:
    """True when the app imported a web extension: then every HTTP function gets its request type."""
    return bool(HttpV2Registry.http_v2_enabled())


def _describe(function: Any) -> dict[str, Any]:
    info = handle_event._functions.get_function(function.function_id)
    return {
        "name": function.name,
        "id": function.function_id,
        "bindings": [json.loads(binding) for binding in function.raw_bindings],
        "retry": _retry(function.retry_options),
        "settlement": info.settlement_client_arg,
        "deferred": info.deferred_bindings_enabled,
    }


def _retry(options: Any) -> dict[str, Any] | None:
    """A retry policy with its intervals in seconds."""
    if options is None:
        return None
    intervals = {
        "delay": getattr(options, "delay_interval", None),
        "minimum": getattr(options, "minimum_interval", None),
        "maximum": getattr(options, "maximum_interval", None),
    }
    seconds = {name: interval.total_seconds() for name, interval in intervals.items() if interval is not None}
    return {"strategy": options.retry_strategy, "max": options.max_retry_count, **seconds}


def _reason(error: Exception, app: Path) -> str:
    if isinstance(error, FunctionLoadError):
        return str(error)
    if isinstance(error, ImportError) and isinstance(error.__context__, ImportError):
        error = error.__context__  # the library appends all of sys.path to the message
    if isinstance(error, SyntaxError):
        return f"{_relative(error.filename or '', app)}, line {error.lineno}: SyntaxError: {error.msg}"
    inside = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_inside(frame.filename, app)]
    if inside:
        place = f"{_relative(inside[-1].filename, app)}, line {inside[-1].lineno}: "
    else:
        name = _function_being_checked(error)
        place = f"function {name}: " if name else ""
    return f"{place}{type(error).__name__}: {error}{_remedy(error)}"


def _function_being_checked(error: Exception) -> str | None:
    """The function whose signature or retry policy the library could not make sense of."""
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__)]
    named = (str(frame["func_name"]) for frame in frames if "func_name" in frame)
    retried = (each["indexed_function"] for each in frames if "indexed_function" in each and "retry" in each)
    return next(named, next((str(function.get_function_name()) for function in retried), None))


def _remedy(error: Exception) -> str:
    if not isinstance(error, ModuleNotFoundError):
        return ""
    return (
        f"; {sys.executable} runs the app: install there what the app requires,"
        " or name the interpreter of the app's own environment with --python"
    )


def _is_inside(filename: str, app: Path) -> bool:
    return Path(filename).is_relative_to(app) and "site-packages" not in filename


def _relative(filename: str, app: Path) -> str:
    return str(Path(filename).relative_to(app)) if _is_inside(filename, app) else filename


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
