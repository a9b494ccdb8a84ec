"""Effects of a soak's activities, which AOS's effect ledger guards: the hub may run an activity again.

Each effect is of one of the kinds that tools have. The world, which the soak's ledger stands for, does
what it is asked to as often as it is asked, but for an effect of the kind that honours a key.
"""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from pathlib import Path

from soak_ledger import Ledger, TooLate

from aos.kernel.agents.definition import Effect
from aos.kernel.governance.effects import Act, EffectRecord, Outcome, Query, Settled, Unknown, Wait
from aos.kernel.governance.policy import PolicyDecision, Verdict
from aos.services.effects.effects import EffectKey, Effects
from aos.services.environment.clock import system_clock
from aos.services.storage.local import open_local

_KINDS = (Effect.IDEMPOTENT, Effect.QUERYABLE, Effect.ONCE)
_LEASE_S = 4.0
_LONGEST_S = 1.0  # between an act and its settlement, which may be struck there
_LEAVE = PolicyDecision(Verdict.ALLOW, ("soak",))


class GuardedEffects:
    """The effects whose claims lie in a folder."""

    def __init__(self, folder: Path, world: Ledger) -> None:
        self._effects = Effects(open_local(folder).rows, system_clock)
        self._world = world

    async def happen(self, effect: str) -> str:
        """Have the effect happen unless it has; its receipt."""
        run, _, step = effect.rpartition("/")
        number = zlib.crc32(effect.encode())
        key, kind = EffectKey(run, step, f"{number:08x}"), _KINDS[number % len(_KINDS)]
        while True:
            claim = await self._effects.claim(key, lease_s=_LEASE_S, args_hash="", kind=kind, decision=_LEAVE)
            match claim:
                case Settled(outcome):
                    return str(outcome.value or self._world.receipt(effect))
                case Wait(until):
                    await asyncio.sleep(max(until - time.time(), 0))
                case Unknown():  # an operator looks it up: nobody can act on that lease any more
                    happened = self._world.receipt(effect) is not None
                    await self._effects.resolve(key, happened=happened, actor="soak", reason="looked it up")
                case Query(record):
                    await self._act(key, record, effect, self._world.receipt(effect))
                case Act(record):
                    await self._act(key, record, effect, None)
                case refused:
                    raise AssertionError(f"{effect}: {refused}")

    async def _act(self, key: EffectKey, held: EffectRecord, effect: str, receipt: str | None) -> None:
        """Ask the world, unless it has done it, within the lease; settle what came of it."""
        honours = held.kind is Effect.IDEMPOTENT
        try:
            receipt = receipt or self._world.happen(effect, before=held.lease_until, honours_key=honours)
        except TooLate:
            return
        await asyncio.sleep(random.random() * _LONGEST_S)
        await self._effects.settle(key, held, Outcome(ok=True, value=receipt))
