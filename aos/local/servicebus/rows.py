"""The journal's statements about one message."""

from typing import Any

from aos.local.servicebus.content import Content
from aos.local.servicebus.journal import (
    DELETE_MESSAGE,
    INSERT_MESSAGE,
    REWRITE_MESSAGE,
    UPDATE_MESSAGE,
    Statement,
)
from aos.local.servicebus.message import Message


def deleted(message: Message) -> Statement:
    """The message is gone."""
    return (DELETE_MESSAGE, (message.id,))


def inserted(entity: str, message: Message) -> Statement:
    """The message is new in an entity."""
    return (
        INSERT_MESSAGE,
        (
            message.id,
            entity,
            message.sequence_number,
            message.content.raw,
            message.message_id,
            message.session_id,
            message.enqueued_ms,
            int(message.state),
            message.scheduled_ms,
            message.ttl_ms,
            message.delivery_count,
            message.lock_token,
            message.locked_until_ms,
            message.enqueued_sequence_number,
            message.dead_letter_source,
            message.dead_letter_reason,
            message.dead_letter_description,
        ),
    )


def rewritten(message: Message, content: Content) -> Statement:
    """The message has another content."""
    return (REWRITE_MESSAGE, (content.raw, message.id))


def updated(entity: str, message: Message, **changes: Any) -> Statement:
    """The message is in an entity, with `changes` to what it is now."""
    get = changes.get
    return (
        UPDATE_MESSAGE,
        (
            entity,
            get("sequence_number", message.sequence_number),
            get("enqueued_ms", message.enqueued_ms),
            int(get("state", message.state)),
            get("delivery_count", message.delivery_count),
            get("lock_token", message.lock_token),
            get("locked_until_ms", message.locked_until_ms),
            get("enqueued_sequence_number", message.enqueued_sequence_number),
            get("dead_letter_source", message.dead_letter_source),
            get("dead_letter_reason", message.dead_letter_reason),
            get("dead_letter_description", message.dead_letter_description),
            message.id,
        ),
    )
