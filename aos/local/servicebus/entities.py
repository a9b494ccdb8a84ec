"""Queues, topics and subscriptions as they are defined."""

from dataclasses import dataclass
from enum import Enum

from aos.local.servicebus.rules import Rule


class Status(Enum):
    """What an entity's status allows."""

    ACTIVE = "Active"
    DISABLED = "Disabled"
    SEND_DISABLED = "SendDisabled"
    RECEIVE_DISABLED = "ReceiveDisabled"

    @property
    def sends(self) -> bool:
        """Whether messages can be sent to the entity."""
        return self in (Status.ACTIVE, Status.RECEIVE_DISABLED)

    @property
    def receives(self) -> bool:
        """Whether messages can be received from the entity."""
        return self in (Status.ACTIVE, Status.SEND_DISABLED)


@dataclass(frozen=True, slots=True)
class EntitySettings:
    """The properties of a queue or a subscription."""

    lock_ms: int = 60_000
    max_delivery_count: int = 10
    default_ttl_ms: int | None = None
    dead_letter_on_expiration: bool = False
    duplicate_window_ms: int | None = None
    requires_session: bool = False
    forward_to: str | None = None
    forward_dead_letters_to: str | None = None
    status: Status = Status.ACTIVE
    max_megabytes: int = 1024

    @property
    def forwards(self) -> tuple[str, ...]:
        """The names of the entities that it forwards to."""
        return tuple(name for name in (self.forward_to, self.forward_dead_letters_to) if name is not None)


@dataclass(frozen=True, slots=True)
class QueueDefinition:
    """A queue by name."""

    name: str
    settings: EntitySettings


@dataclass(frozen=True, slots=True)
class SubscriptionDefinition:
    """A subscription and the rules that choose its messages."""

    name: str
    settings: EntitySettings
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class TopicDefinition:
    """A topic and its subscriptions."""

    name: str
    settings: EntitySettings
    subscriptions: tuple[SubscriptionDefinition, ...]
