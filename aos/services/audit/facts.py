"""Facts: what producers write down before anything acts on it.

What is too large or too deep for a record lies apart, and the fact holds its hash and size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aos.kernel.canonical import Json, encode
from aos.kernel.errors import InvalidInput
from aos.kernel.governance.audit.encoding import canonical_payload
from aos.kernel.governance.audit.records import Fact, FactType
from aos.services.environment.clock import Clock, timestamp
from aos.services.runs.values import Values
from aos.services.storage import layout
from aos.services.storage.ports import AlreadyExists, Rows

TABLE = layout.FACTS
INLINE_BYTES = 256 * 1024
"""What a fact holds itself: a row and a part of an append take it with room to spare."""


class Facts:
    """The rows in which facts wait to be put into their run's log."""

    def __init__(self, rows: Rows, values: Values, clock: Clock) -> None:
        self._rows = rows
        self._values = values
        self._clock = clock

    async def write(
        self,
        run: str,
        fact_id: str,
        fact_type: FactType,
        *,
        actor: str,
        subject: Mapping[str, str | int],
        payload: Json = None,
    ) -> str:
        """Write a fact unless one with its id is there, and return the id: it is said once."""
        fact = await self.make(run, fact_id, fact_type, actor=actor, subject=subject, payload=payload)
        try:
            await self._rows.insert(TABLE, run, fact_id, fact.to_json())
        except AlreadyExists:
            return fact_id
        return fact_id

    async def make(
        self,
        run: str,
        fact_id: str,
        fact_type: FactType,
        *,
        actor: str,
        subject: Mapping[str, str | int],
        payload: Json = None,
    ) -> Fact:
        """Return a fact of this moment, its large values put away."""
        return Fact(
            id=fact_id,
            type=fact_type,
            at=timestamp(self._clock()),
            actor=actor,
            subject=subject,
            payload=await self._recordable(run, payload),
        )

    async def _recordable(self, run: str, payload: Json) -> Json:
        if _fits(payload):
            return payload
        if not isinstance(payload, dict):
            return await self._values.put_away(run, payload)
        rest = dict(payload)
        for name in sorted(payload, key=lambda one: (_fits(rest[one]), -len(encode(rest[one])))):
            rest[name] = await self._values.put_away(run, payload[name])
            if _fits(rest):
                break
        return rest

    async def read(self, run: str, fact_id: str) -> Fact | None:
        """Return the fact, or None."""
        row = await self._rows.get(TABLE, run, fact_id)
        return None if row is None else Fact.from_json(row.value)

    async def all(self, run: str) -> list[Fact]:
        """Return every fact of the run, in the order in which they happened."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            page = await self._rows.list(TABLE, run, after=after)
            found += [row.value for row in page.rows]
            after = page.next_key
            if after is None:
                break
        return sorted((Fact.from_json(value) for value in found), key=lambda fact: (fact.at, fact.id))


def _fits(payload: Json) -> bool:
    try:
        return len(canonical_payload(payload)) <= INLINE_BYTES
    except InvalidInput:
        return False
