"""Messages as the Service Bus extension hands them to functions: bodies, and properties by their names."""

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from aos.local.host.frames import pack
from aos.local.servicebus import ReceivedMessage
from aos.local.servicebus.amqp_types import Timestamp

_NEVER = "9999-12-31T23:59:59.9999999"


def trigger_metadata(message: ReceivedMessage) -> dict[str, Any]:
    """A message's properties under the names that extension 5.x gives them; absent ones are left out.

    What it does not give is not here either: `dead_letter_reason`, for one, is an application property.
    """
    return {name: value for name, value in _properties(message).items() if value is not None}


def batch_metadata(messages: Sequence[ReceivedMessage]) -> dict[str, Any]:
    """The properties of several messages: an array of each, with null where a message has none."""
    each = [_properties(message) for message in messages]
    return {f"{name}Array": [properties[name] for properties in each] for name in each[0]}


def batch_body(bodies: Sequence[bytes]) -> bytes:
    """Several bodies in one payload, with their sizes before them."""
    return pack({"sizes": [len(body) for body in bodies]}, b"".join(bodies))


def whole_message(message: ReceivedMessage) -> bytes:
    """What an SDK type is made of: the lock token, as .NET writes it, and the message as AMQP."""
    return UUID(message.lock_token).bytes_le + message.to_amqp()


def _properties(message: ReceivedMessage) -> dict[str, Any]:
    application = json.loads(json.dumps(_plain(message.application_properties), default=str))
    enqueued, expires = _instant(message.enqueued_time_utc), _expiry(message.expires_at_utc)
    return {
        "MessageId": message.message_id or "",
        "CorrelationId": message.correlation_id,
        "ContentType": message.content_type,
        "Subject": message.subject,
        "Label": message.subject,
        "ReplyTo": message.reply_to,
        "ReplyToSessionId": message.reply_to_session_id,
        "To": message.to,
        "SessionId": message.session_id,
        "PartitionKey": message.partition_key,
        "TransactionPartitionKey": message.via_partition_key,
        "DeadLetterSource": message.dead_letter_source,
        "DeliveryCount": message.delivery_count + 1,
        "SequenceNumber": message.sequence_number,
        # The names with Utc are of .NET's DateTime, which says no zone.
        "EnqueuedTimeUtc": enqueued,
        "EnqueuedTime": f"{enqueued}+00:00",
        "ExpiresAtUtc": expires,
        "ExpiresAt": f"{expires}+00:00",
        "LockToken": message.lock_token,
        "UserProperties": application,
        "ApplicationProperties": application,
    }


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def _expiry(moment: datetime | None) -> str:
    return _NEVER if moment is None else _instant(moment)


def _plain(value: Any) -> Any:
    """A value of an application property as .NET writes it into JSON."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Timestamp):
        return _timestamp(value)
    return value


def _timestamp(milliseconds: int) -> str | int:
    try:
        return _instant(datetime.fromtimestamp(milliseconds / 1000, UTC)) + "Z"
    except (OverflowError, ValueError, OSError):  # no date has that number
        return int(milliseconds)
