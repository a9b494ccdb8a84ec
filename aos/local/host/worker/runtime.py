"""The seam to Microsoft's worker library: every name of it that this package uses.

The library is pinned exactly: some of these are internals that its own worker uses.
"""

from azure_functions_runtime import handle_event  # type: ignore[import-untyped]
from azure_functions_runtime.bindings.context import (  # type: ignore[import-untyped]
    _invocation_id_local as invocation_id_local,
)
from azure_functions_runtime.bindings.datumdef import Datum  # type: ignore[import-untyped]
from azure_functions_runtime.bindings.meta import load_binding_registry  # type: ignore[import-untyped]
from azure_functions_runtime.functions import FunctionLoadError  # type: ignore[import-untyped]
from azure_functions_runtime.http_v2 import HttpV2Registry, http_coordinator  # type: ignore[import-untyped]
from azure_functions_runtime.native_invocation import (  # type: ignore[import-untyped]
    _check_return as check_return,
)
from azure_functions_runtime.native_invocation import (
    _decode_inputs as decode_inputs,
)
from azure_functions_runtime.native_invocation import (
    _encode_return as encode_return,
)
from azure_functions_runtime.native_invocation import (
    _prepare_context as prepare_context,
)
from azure_functions_runtime.native_invocation import (
    invocation_request_native,
)
from azure_functions_runtime.utils.executor import (  # type: ignore[import-untyped]
    invocation_id_cv,
    run_sync_func,
)
from azure_functions_runtime.utils.threadpool import (  # type: ignore[import-untyped]
    get_threadpool_executor,
    start_threadpool_executor,
)

__all__ = [
    "Datum",
    "FunctionLoadError",
    "HttpV2Registry",
    "check_return",
    "decode_inputs",
    "encode_return",
    "handle_event",
    "http_coordinator",
    "invocation_id_cv",
    "invocation_id_local",
    "invocation_request_native",
    "load_binding_registry",
    "prepare_context",
    "run_sync_func",
    "start_threadpool_executor",
    "thread_count",
]


def thread_count() -> int:
    """How many threads functions may have, as the library understands PYTHON_THREADPOOL_THREAD_COUNT."""
    count: int = get_threadpool_executor()._max_workers
    return count
