"""Facts: what producers write down before anything acts on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aos.kernel.canonical import Json
from aos.kernel.governance.audit.records import Fact, FactType
from aos.services.environment.clock import Clock, timestamp
from aos.services.storage.ports import AlreadyExists, Rows

TABLE = "facts"


class Facts:
    """The rows in which facts wait to be put into their run's log."""

    def __init__(self, rows: Rows, clock: Clock) -> None:
        self._rows = rows
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
        fact = Fact(
            id=fact_id,
            type=fact_type,
            at=timestamp(self._clock()),
            actor=actor,
            subject=subject,
            payload=payload,
        )
        try:
            await self._rows.insert(TABLE, run, fact_id, fact.to_json())
        except AlreadyExists:
            return fact_id
        return fact_id

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
