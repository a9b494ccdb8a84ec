"""API keys.

A key is ``aos_<key id>_<secret>``. The secret has 256 random bits, so its plain SHA-256 is what is
stored: there is nothing in it to guess, and a slow hash would only slow every request down. The text
is shown once, when the key is made, and cannot be had again.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aos.kernel.errors import InvalidInput, NotFound, Unauthenticated
from aos.kernel.ids import check_id
from aos.services.auth.principal import Principal
from aos.services.storage import Rows, Stale, layout

_TABLE = layout.API_KEYS
_PARTITION = "keys"
_TEXT = re.compile(r"aos_(?P<id>[0-9a-f]{16})_(?P<secret>[A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,100}")
_NOBODY = hashlib.sha256(b"no key has this hash").hexdigest()
_REFUSAL = "the API key is missing or not valid"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is kept of a key. Times are seconds since the epoch, UTC."""

    id: str
    name: str
    tenant: str
    roles: tuple[str, ...]
    created_at: float
    revoked_at: float | None = None

    def principal(self) -> Principal:
        """Return who this key's holder is."""
        return Principal(self.id, self.name, self.tenant, frozenset(self.roles))


@dataclass(frozen=True, slots=True)
class _Cached:
    value: Mapping[str, Any]
    until: float


class KeyStore:
    """API keys in storage, with a short memory in front of it.

    A revoked key is refused everywhere at the latest ``cache_s`` seconds later. Only keys that exist
    are remembered, so made-up ones cannot fill the memory.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        cache_s: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rows = rows
        self._cache_s = cache_s
        self._clock = clock
        self._cache: dict[str, _Cached] = {}

    async def create(self, name: str, roles: Iterable[str], tenant: str) -> tuple[str, KeyRecord]:
        """Make a key; return its text, which is not kept, and its record.

        Raises:
            InvalidInput: the name is empty or too long, there is no role, or a role or tenant is malformed.
        """
        if not _NAME.fullmatch(name.strip()):
            raise InvalidInput("a key needs a name of 1 to 100 printable characters", field="name")
        wanted = tuple(sorted({check_id(role, "role") for role in roles}))
        if not wanted:
            raise InvalidInput("a key needs a role", field="roles")
        record = KeyRecord(
            secrets.token_hex(8), name.strip(), check_id(tenant, "tenant"), wanted, self._clock()
        )
        text = f"aos_{record.id}_{secrets.token_urlsafe(32)}"
        value = {
            "name": record.name,
            "tenant": record.tenant,
            "roles": list(record.roles),
            "created_at": record.created_at,
            "revoked_at": None,
            "sha256": _hash(text),
        }
        await self._rows.insert(_TABLE, _PARTITION, record.id, value)
        return text, record

    async def authenticate(self, text: str) -> Principal:
        """Return who holds the key.

        Raises:
            Unauthenticated: no such key, or it was revoked; always the same message.
            Unavailable: storage does not answer.
        """
        parts = _TEXT.fullmatch(text)
        value = await self._value(parts["id"]) if parts else None
        known = hmac.compare_digest(_hash(text), value["sha256"] if value else _NOBODY)
        if not (parts and value and known) or value["revoked_at"] is not None:
            raise Unauthenticated(_REFUSAL)
        return _record(parts["id"], value).principal()

    async def revoke(self, tenant: str, key_id: str) -> KeyRecord:
        """Make the key useless for good; revoking it again changes nothing.

        Raises:
            NotFound: the tenant has no such key.
        """
        while True:
            row = await self._rows.get(_TABLE, _PARTITION, key_id)
            if row is None or row.value["tenant"] != tenant:
                raise NotFound(f"there is no API key {key_id!r}", key=key_id)
            value = row.value
            try:
                if value["revoked_at"] is None:
                    value = {**value, "revoked_at": self._clock()}
                    await self._rows.replace(_TABLE, row, value)
            except Stale:
                continue
            self._cache.pop(key_id, None)
            return _record(key_id, value)

    async def list(self, tenant: str) -> list[KeyRecord]:
        """Return the tenant's keys, revoked ones too, oldest first."""
        found: list[KeyRecord] = []
        after: str | None = None
        while True:
            page = await self._rows.list(_TABLE, _PARTITION, after=after, limit=1000)
            found += [_record(row.key, row.value) for row in page.rows if row.value["tenant"] == tenant]
            if (after := page.next_key) is None:
                return sorted(found, key=lambda record: (record.created_at, record.id))

    async def _value(self, key_id: str) -> Mapping[str, Any] | None:
        now = self._clock()
        cached = self._cache.get(key_id)
        if cached and now < cached.until:
            return cached.value
        row = await self._rows.get(_TABLE, _PARTITION, key_id)
        if row is None:
            self._cache.pop(key_id, None)
            return None
        self._cache[key_id] = _Cached(row.value, now + self._cache_s)
        return row.value


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _record(key_id: str, value: Mapping[str, Any]) -> KeyRecord:
    return KeyRecord(
        key_id,
        value["name"],
        value["tenant"],
        tuple(value["roles"]),
        value["created_at"],
        value["revoked_at"],
    )
