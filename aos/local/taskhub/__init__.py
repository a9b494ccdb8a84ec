"""A durable task hub on SQLite: the durabletask protocol, served in process or over gRPC."""

from aos.local.taskhub.clock import Clock, SystemClock
from aos.local.taskhub.errors import HubError
from aos.local.taskhub.hub import TaskHub
from aos.local.taskhub.server import Server, serve

__all__ = ["Clock", "HubError", "Server", "SystemClock", "TaskHub", "serve"]
