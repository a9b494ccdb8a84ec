"""What a sender sent: the bytes of a message, and its sections."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from aos.local.servicebus.amqp_types import Described, Symbol, Timestamp, UInt
from aos.local.servicebus.decoding import decode, list_items, map_pairs, skip
from aos.local.servicebus.encoding import encode, encode_map
from aos.local.servicebus.errors import DecodeError, MessageTooLargeError
from aos.local.servicebus.performatives import encoded_list

BATCH_FORMAT = 0x80013700
MAX_MESSAGE_BYTES = 256 * 1024
MAX_BATCH_BYTES = 256 * 1024  # as in the Standard tier
WIRE_MAX_TTL_MS = 2**32 - 1  # the highest ttl of the header, which means "never expires"
_LATEST_MS = 253_402_300_800_000  # the end of the year 9999

HEADER, DELIVERY_ANNOTATIONS, ANNOTATIONS = 0x70, 0x71, 0x72
PROPERTIES, APPLICATION_PROPERTIES = 0x73, 0x74
DATA, SEQUENCE, VALUE, FOOTER = 0x75, 0x76, 0x77, 0x78
_REPEATABLE = (DATA, SEQUENCE)
_SECTIONS = range(HEADER, FOOTER + 1)
_PROPERTY_NAMES = (
    *("message_id", "user_id", "to", "subject", "reply_to", "correlation_id", "content_type"),
    *("content_encoding", "absolute_expiry_time", "creation_time"),
    *("group_id", "group_sequence", "reply_to_group_id"),
)
LOCK_ANNOTATION = "x-opt-lock-token"
_BROKER_ANNOTATIONS = frozenset(
    {
        *("x-opt-enqueued-time", "x-opt-sequence-number", "x-opt-enqueue-sequence-number"),
        *("x-opt-locked-until", LOCK_ANNOTATION, "x-opt-message-state", "x-opt-deadletter-source"),
    }
)


@dataclass(slots=True)
class Content:
    """A message as its sender made it."""

    raw: bytes
    durable: bool | None
    priority: int | None
    ttl_ms: int | None
    annotations: dict[str, Any]
    annotation_pairs: list[bytes]
    delivery_annotation_pairs: list[bytes]
    properties_bytes: bytes = b""
    application_bytes: bytes = b""
    body_bytes: bytes = b""
    late_annotations_bytes: bytes = b""  # delivery annotations at the end, where pyamqp puts them

    @classmethod
    def parse(cls, raw: bytes) -> "Content":
        """Split a message into its sections. Raises DecodeError."""
        if not raw:
            raise DecodeError("a message without a section")
        content = cls(raw, None, None, None, {}, [], [])
        position = last = 0
        while position < len(raw):
            code, start = _section_start(raw, position)
            end = skip(raw, start)
            if code != DELIVERY_ANNOTATIONS:
                if code < last or (code == last and code not in _REPEATABLE):
                    raise DecodeError(f"the message section 0x{code:02x} is out of order")
                last = code
            content._take(code, position, start, end)
            position = end
        return content

    def with_properties(self, changes: Mapping[str, str | None]) -> "Content":
        """The same message with some fields of its properties section set."""
        values = [b"\x40"] * len(_PROPERTY_NAMES)
        if self.properties_bytes:
            given = list_items(self.properties_bytes, _section_start(self.properties_bytes, 0)[1])
            values[: len(given)] = given
        for name, value in changes.items():
            values[_PROPERTY_NAMES.index(name)] = encode(value)
        return self._with_bare(b"\x00\x53\x73" + encoded_list(values), self.application_bytes)

    def with_application_properties(
        self, changes: Mapping[str, Any], removed: Collection[str] = ()
    ) -> "Content":
        """The same message with some application properties set. Raises MessageTooLargeError."""
        application = with_pairs(self.application_bytes, changes, removed)
        content = self._with_bare(self.properties_bytes, application)
        check_size(len(content.raw), MAX_MESSAGE_BYTES)
        return content

    def _with_bare(self, properties: bytes, application: bytes) -> "Content":
        bare = properties + application + self.body_bytes + self.late_annotations_bytes
        return Content.parse(self.raw[: self._bare_start()] + bare)

    def _bare_start(self) -> int:
        """Where the sections that the sender owns begin: that of the properties, if there is one."""
        position = 0
        while position < len(self.raw):
            code, start = _section_start(self.raw, position)
            if code >= PROPERTIES:
                break
            position = skip(self.raw, start)
        return position

    def _take(self, code: int, position: int, start: int, end: int) -> None:
        if code == HEADER:
            self._take_header(decode(self.raw, start)[0])
        elif code == ANNOTATIONS:
            self._take_annotations(start)
        elif code == PROPERTIES:
            self.properties_bytes = self.raw[position:end]
        elif code == APPLICATION_PROPERTIES:
            self.application_bytes = self.raw[position:end]
        elif code == DELIVERY_ANNOTATIONS:
            pairs = map_pairs(self.raw, start)
            self.delivery_annotation_pairs = [pair for key, pair in pairs if key != LOCK_ANNOTATION]
            if position >= self._bare_start():
                self.late_annotations_bytes = self.raw[position:end]
        else:
            if code in (SEQUENCE, VALUE):
                decode(self.raw, start)  # a body that cannot be read is refused, not passed on
            self.body_bytes += self.raw[position:end]

    def _take_header(self, fields: Any) -> None:
        if not isinstance(fields, list):
            raise DecodeError("a message header that is no list")
        durable, priority, ttl = (*fields, None, None, None)[:3]
        self.durable = durable if isinstance(durable, bool) else None
        self.priority = priority if isinstance(priority, int) and 0 <= priority < 256 else None
        if isinstance(ttl, int) and 0 <= ttl < WIRE_MAX_TTL_MS:
            self.ttl_ms = ttl

    def _take_annotations(self, start: int) -> None:
        for key, pair in map_pairs(self.raw, start):
            if key not in _BROKER_ANNOTATIONS:
                self.annotation_pairs.append(pair)
                self.annotations[key] = decode(pair, skip(pair, 0))[0]

    def property_fields(self) -> dict[str, Any]:
        """The properties section by field name; absent fields are left out."""
        if not self.properties_bytes:
            return {}
        values = decode(self.properties_bytes)[0].value
        if not isinstance(values, list):
            raise DecodeError("message properties that are no list")
        pairs = zip(_PROPERTY_NAMES, values, strict=False)
        return {name: value for name, value in pairs if value is not None}

    def application_properties(self) -> dict[str, Any]:
        """The application properties."""
        if not self.application_bytes:
            return {}
        values = decode(self.application_bytes)[0].value
        if values is not None and not isinstance(values, dict):
            raise DecodeError("application properties that are no map")
        return values or {}

    def scheduled_ms(self) -> int | None:
        """When the message is to become active, if the sender said so. Raises DecodeError."""
        value = self.annotations.get("x-opt-scheduled-enqueue-time")
        if value is None:
            return None
        if not isinstance(value, int) or value > _LATEST_MS:
            raise DecodeError("x-opt-scheduled-enqueue-time is no time")
        return int(value)

    def value(self) -> Any:
        """The value of the first body section."""
        if not self.body_bytes:
            return None
        return decode(self.body_bytes, _section_start(self.body_bytes, 0)[1])[0]

    def body(self) -> bytes:
        """The data sections joined; a value or a sequence as text, as the Functions host gives it."""
        parts: list[bytes] = []
        position = 0
        while position < len(self.body_bytes):
            code, start = _section_start(self.body_bytes, position)
            value, position = decode(self.body_bytes, start)
            if code != FOOTER:
                parts.append(_as_bytes(value))
        return b"".join(parts)


def batch_contents(raw: bytes) -> list[Content]:
    """The messages in a batch: one data section each."""
    contents = []
    position = 0
    while position < len(raw):
        code, start = _section_start(raw, position)
        value, position = decode(raw, start)
        if code == DATA:
            if not isinstance(value, bytes):
                raise DecodeError("a batch with a data section that is not binary")
            contents.append(Content.parse(value))
    return contents


def check_size(size: int, limit: int) -> None:
    """Refuse what is above the limit. Raises MessageTooLargeError."""
    if size > limit:
        raise MessageTooLargeError(f"the message has {size} bytes, and at most {limit} are allowed")


def build_message(
    body: bytes,
    *,
    ttl_ms: int | None = None,
    scheduled_ms: int | None = None,
    application_properties: Mapping[str, Any] | None = None,
    **properties: Any,
) -> bytes:
    """The bytes of a message sent from this process; `properties` as AMQP names them."""
    sections = []
    if ttl_ms is not None:
        sections.append(Described(HEADER, [True, None, UInt(ttl_ms)]))
    if scheduled_ms is not None:
        when = {Symbol("x-opt-scheduled-enqueue-time"): Timestamp(scheduled_ms)}
        sections.append(Described(ANNOTATIONS, when))
    if any(value is not None for value in properties.values()):
        sections.append(Described(PROPERTIES, [properties.get(name) for name in _PROPERTY_NAMES]))
    if application_properties:
        sections.append(Described(APPLICATION_PROPERTIES, dict(application_properties)))
    sections.append(Described(DATA, body))
    return b"".join(map(encode, sections))


def _section_start(raw: bytes, position: int) -> tuple[int, int]:
    """The code of the section at `position` and where its value starts."""
    if raw[position : position + 2] == b"\x00\x53" and position + 3 < len(raw):
        code, start = raw[position + 2], position + 3
    else:
        descriptor, start = decode(raw, position + 1)
        code = descriptor if raw[position] == 0 and isinstance(descriptor, int) else -1
    if code not in _SECTIONS:
        raise DecodeError(f"no message section at byte {position}")
    return code, start


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value, default=str)).encode()


def with_pairs(section: bytes, changes: Mapping[str, Any], removed: Collection[str] = ()) -> bytes:
    """A section of application properties (or none, b"") with some of them set, and some removed."""
    pairs = map_pairs(section, _section_start(section, 0)[1]) if section else []
    kept = [pair for key, pair in pairs if key not in changes and key not in removed]
    new = [encode(key) + encode(value) for key, value in changes.items()]
    return b"\x00\x53\x74" + encode_map(kept + new)
