"""A local Azure Functions host: front end, task hub and broker in one process, the worker beside it."""

from aos.local.host.errors import HostError
from aos.local.host.host import Host, run_host
from aos.local.host.options import HostOptions

__all__ = ["Host", "HostError", "HostOptions", "run_host"]
