"""The effect protocol over storage: every step of it is one conditional write."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from aos.kernel.agents.definition import Effect
from aos.kernel.errors import NotFound
from aos.kernel.governance import effects
from aos.kernel.governance.effects import (
    Act,
    ArgumentsChanged,
    Claim,
    EffectRecord,
    Lost,
    Outcome,
    Query,
    Settled,
    Unknown,
    Wait,
)
from aos.kernel.governance.policy import PolicyDecision
from aos.services.environment.clock import Clock
from aos.services.storage import layout
from aos.services.storage.ports import AlreadyExists, Row, Rows, Stale

TABLE = layout.EFFECTS
_OWNER_BYTES = 8


@dataclass(frozen=True, slots=True)
class EffectKey:
    """Names an effect: the run, the step (or its compensation) that it belongs to, and its id."""

    run: str
    step: str
    id: str

    @property
    def row(self) -> str:
        """The row's key: the effects of a step lie together."""
        return f"{self.step}.{self.id}"


class Effects:
    """The effects of runs."""

    def __init__(self, rows: Rows, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock

    async def claim(
        self,
        key: EffectKey,
        *,
        lease_s: float,
        args_hash: str,
        kind: Effect,
        decision: PolicyDecision,
    ) -> Claim:
        """Ask to act. ``Act`` and ``Query`` are written when they are returned: the lease is held."""
        owner = secrets.token_hex(_OWNER_BYTES)
        tried: Act | Query | Unknown | None = None
        while True:
            row = await self._rows.get(TABLE, key.run, key.row)
            record = EffectRecord.from_json(row.value) if row else None
            if tried is not None and record == tried.record:
                return tried  # the write was refused, but an earlier sending of it had succeeded
            answer = effects.claim(
                record,
                id=key.id,
                now=self._clock(),
                owner=owner,
                lease_s=lease_s,
                args_hash=args_hash,
                kind=kind,
                decision=decision,
            )
            match answer:
                case Act(new) | Query(new) | Unknown(new) if new != record:
                    if await self._written(key, row, new):
                        return answer
                    tried = answer
                case Act() | Query() | Unknown() | Settled() | Wait() | ArgumentsChanged():
                    return answer

    async def _written(self, key: EffectKey, row: Row | None, record: EffectRecord) -> bool:
        try:
            if row is None:
                await self._rows.insert(TABLE, key.run, key.row, record.to_json())
            else:
                await self._rows.replace(TABLE, row, record.to_json())
        except (AlreadyExists, Stale):
            return False
        return True

    async def get(self, key: EffectKey) -> EffectRecord:
        """Return what is written of the effect; ``NotFound`` if nothing is."""
        return await self._change(key, lambda record: record)

    async def settle(self, key: EffectKey, held: EffectRecord, outcome: Outcome) -> EffectRecord:
        """Record how the call ended, and return the record that holds: the winner's if the lease was lost."""
        now = self._clock()
        return await self._end(
            key,
            held,
            lambda r: effects.settle(r, epoch=held.epoch, owner=held.owner, outcome=outcome, now=now),
        )

    async def mark_unknown(self, key: EffectKey, held: EffectRecord, note: str) -> EffectRecord:
        """Record that nobody can tell whether the call happened."""
        now = self._clock()
        return await self._end(
            key,
            held,
            lambda r: effects.mark_unknown(r, epoch=held.epoch, owner=held.owner, note=note, now=now),
        )

    async def give_back(self, key: EffectKey, held: EffectRecord) -> EffectRecord:
        """Record that the call did not happen, so that it may be made again."""
        now = self._clock()
        return await self._end(
            key, held, lambda r: effects.give_back(r, epoch=held.epoch, owner=held.owner, now=now)
        )

    async def lapse(self, key: EffectKey, held: EffectRecord) -> EffectRecord:
        """End the lease of a call that ended without an outcome."""
        now = self._clock()
        return await self._end(
            key, held, lambda r: effects.lapse(r, epoch=held.epoch, owner=held.owner, now=now)
        )

    async def resolve(self, key: EffectKey, *, happened: bool, actor: str, reason: str) -> EffectRecord:
        """Record what an operator found out about an unknown effect.

        Raises:
            NotFound: the run has no such effect.
            Conflict: it is not unknown, or was resolved otherwise.
        """
        now = self._clock()
        return await self._change(
            key, lambda r: effects.resolve(r, happened=happened, actor=actor, reason=reason, now=now)
        )

    async def of_step(self, run: str, step: str) -> list[tuple[EffectKey, EffectRecord]]:
        """Return the effects of a step."""
        return await self._listed(run, f"{step}.")

    async def all(self, run: str) -> list[tuple[EffectKey, EffectRecord]]:
        """Return the effects of a run."""
        return await self._listed(run, "")

    async def find(self, run: str, effect_id: str) -> EffectKey:
        """Return the key of the effect with this id; ``NotFound`` if the run has none."""
        for key, _ in await self.all(run):
            if key.id == effect_id:
                return key
        raise NotFound(f"run {run} has no effect {effect_id!r}", run=run, effect=effect_id)

    async def _listed(self, run: str, prefix: str) -> list[tuple[EffectKey, EffectRecord]]:
        found: list[tuple[EffectKey, EffectRecord]] = []
        after: str | None = None
        while True:
            page = await self._rows.list(TABLE, run, prefix=prefix, after=after)
            for row in page.rows:
                step, _, effect_id = row.key.rpartition(".")
                found.append((EffectKey(run, step, effect_id), EffectRecord.from_json(row.value)))
            after = page.next_key
            if after is None:
                return found

    async def abandon(self, key: EffectKey) -> EffectRecord:
        """Say what is known of an effect that nobody works on any more; unknown, if a lease ran out."""
        now = self._clock()
        return await self._change(key, lambda record: effects.abandon(record, now=now))

    async def _end(
        self, key: EffectKey, held: EffectRecord, change: Callable[[EffectRecord], EffectRecord | Lost]
    ) -> EffectRecord:
        def changed(record: EffectRecord) -> EffectRecord:
            after = change(record)
            return after.record if isinstance(after, Lost) else after

        return await self._change(key, changed)

    async def _change(self, key: EffectKey, change: Callable[[EffectRecord], EffectRecord]) -> EffectRecord:
        while True:
            row = await self._rows.get(TABLE, key.run, key.row)
            if row is None:
                raise NotFound(f"run {key.run} has no effect {key.id!r}", run=key.run, effect=key.id)
            record = EffectRecord.from_json(row.value)
            after = change(record)
            if after == record or await self._written(key, row, after):
                return after
