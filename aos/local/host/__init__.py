"""A local Azure Functions host: front end, task hub and broker in one process, the worker beside it."""

import importlib
import os
from typing import TYPE_CHECKING

from aos.local.host.errors import HostError
from aos.local.host.options import HostOptions

if TYPE_CHECKING:
    from aos.local.host.host import Host
    from aos.local.host.run import run_host

__all__ = ["Host", "HostError", "HostOptions", "run_host"]

# Before gRPC is loaded, which would complain whenever a worker is started.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

_LAZY = {"Host": "aos.local.host.host", "run_host": "aos.local.host.run"}


def __getattr__(name: str) -> object:
    """Load the host's side when it is asked for: the worker imports this package too, and starts faster."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
