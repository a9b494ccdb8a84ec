"""A local Azure Functions host: front end, task hub and broker in one process, the worker beside it."""

import os

# Before gRPC is loaded, which would complain whenever a worker is started.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from aos.local.host.errors import HostError
from aos.local.host.host import Host
from aos.local.host.options import HostOptions
from aos.local.host.run import run_host

__all__ = ["Host", "HostError", "HostOptions", "run_host"]
