"""The HTTP management API of Durable Functions, as the extension for the Functions host serves it."""

from aos.local.host.management.api import Management
from aos.local.host.management.links import PATH, Links

__all__ = ["PATH", "Links", "Management"]
