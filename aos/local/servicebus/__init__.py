"""A Service Bus namespace on one machine: AMQP 1.0 for the unmodified Azure SDKs, durable in SQLite."""

from aos.local.servicebus.broker import Broker
from aos.local.servicebus.clock import Clock, ManualClock, SystemClock
from aos.local.servicebus.errors import (
    BrokerError,
    DatabaseError,
    EntityNotFoundError,
    LockLostError,
    SessionLockLostError,
)
from aos.local.servicebus.receiver import ReceivedMessage, Receiver
from aos.local.servicebus.session_receiver import SessionReceiver
from aos.local.servicebus.topology import Topology, TopologyError

__all__ = [
    "Broker",
    "BrokerError",
    "Clock",
    "DatabaseError",
    "EntityNotFoundError",
    "LockLostError",
    "ManualClock",
    "ReceivedMessage",
    "Receiver",
    "SessionLockLostError",
    "SessionReceiver",
    "SystemClock",
    "Topology",
    "TopologyError",
]
