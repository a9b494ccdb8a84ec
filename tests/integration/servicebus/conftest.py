"""The `bus` fixture for every test here."""

from servicebus_bus import bus

__all__ = ["bus"]
