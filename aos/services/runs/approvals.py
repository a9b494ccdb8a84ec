"""Approvals: one row a step, decided once, on the action that was seen."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from aos.kernel.errors import IllegalTransition, NotFound
from aos.kernel.governance.approval import (
    Action,
    Approval,
    ApprovalState,
    Decide,
    Event,
    Expire,
    Withdraw,
    advance,
)
from aos.services.environment.clock import Clock
from aos.services.storage import layout
from aos.services.storage.ports import AlreadyExists, Row, Rows, Stale

TABLE = layout.APPROVALS


@dataclass(frozen=True, slots=True)
class Asked:
    """An approval with what it is about."""

    step: str
    action: Action
    prompt: str
    approval: Approval

    def fact(self, what: str) -> str:
        """Return the id of a fact about this question: a step may ask several, of one role after another."""
        return f"{self.step}.approval.{self.approval.role}.{self.action.hash[:16]}.{what}"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        action = {"kind": self.action.kind, "name": self.action.name, "arguments": self.action.arguments}
        return {
            "step": self.step,
            "action": action,
            "prompt": self.prompt,
            "approval": self.approval.to_json(),
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> Asked:
        """Read what ``to_json`` gave."""
        approval = Approval.from_json(value["approval"])
        return Asked(value["step"], Action(**value["action"]), value["prompt"], approval)


class Approvals:
    """The approvals that runs asked for."""

    def __init__(self, rows: Rows, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock

    async def ask(
        self, run: str, step: str, action: Action, *, role: str, prompt: str, timeout_s: float
    ) -> Asked:
        """Ask for a decision, once: asking again gives what was asked before.

        A step whose question was decided may ask another one, of another role; the first is kept beside it.
        """
        now = self._clock()
        asked = Asked(step, action, prompt, Approval(action.hash, role, now, now + timeout_s))
        try:
            await self._rows.insert(TABLE, run, step, asked.to_json())
        except AlreadyExists:
            return await self._ask_next(run, asked)
        return asked

    async def _ask_next(self, run: str, asked: Asked) -> Asked:
        while True:
            row = await self._row(run, asked.step)
            before = Asked.from_json(row.value)
            if before.approval.state is ApprovalState.REQUESTED or before.fact("") == asked.fact(""):
                return before
            with contextlib.suppress(AlreadyExists):
                await self._rows.insert(TABLE, run, before.fact("past"), row.value)
            try:
                await self._rows.replace(TABLE, row, asked.to_json())
            except Stale:
                continue
            return asked

    async def get(self, run: str, step: str) -> Asked:
        """Return the approval; ``NotFound`` if the step asks for none."""
        return Asked.from_json((await self._row(run, step)).value)

    async def all(self, run: str) -> list[Asked]:
        """Return the approvals of a run."""
        page = await self._rows.list(TABLE, run, limit=1000)
        return [Asked.from_json(row.value) for row in page.rows]

    async def approvers(self, run: str, action: Action) -> dict[str, str]:
        """Return who approved exactly this action in this run, by the role in which they did."""
        found = {}
        for asked in await self.all(run):
            approved = asked.approval.state is ApprovalState.APPROVED
            if approved and asked.approval.action_hash == action.hash and asked.approval.actor:
                found[asked.approval.role] = asked.approval.actor
        return found

    async def decide(
        self, run: str, step: str, *, actor: str, action_hash: str, approve: bool, reason: str
    ) -> Asked:
        """Approve or reject. ``Conflict`` if the action is another, or was decided otherwise."""
        return await self._advance(run, step, Decide(actor, action_hash, approve, reason, self._clock()))

    async def close(self, run: str, step: str, how: str) -> Asked:
        """Close an approval that is still open, as expired or withdrawn; one that was decided stands."""
        asked = await self.get(run, step)
        if asked.approval.state is not ApprovalState.REQUESTED:
            return asked
        now = self._clock()
        if how == "expired":
            return await self._advance(run, step, Expire(max(now, asked.approval.expires_at)))
        try:
            return await self._advance(run, step, Withdraw("aos", "the run stopped", now))
        except IllegalTransition:
            return await self.get(run, step)  # decided at the last moment

    async def _advance(self, run: str, step: str, event: Event) -> Asked:
        while True:
            row = await self._row(run, step)
            asked = Asked.from_json(row.value)
            after = Asked(asked.step, asked.action, asked.prompt, advance(asked.approval, event))
            if after == asked:
                return asked
            try:
                await self._rows.replace(TABLE, row, after.to_json())
            except Stale:
                continue
            return after

    async def _row(self, run: str, step: str) -> Row:
        row = await self._rows.get(TABLE, run, step)
        if row is None:
            raise NotFound(f"step {step!r} of run {run} asks for no approval", run=run, step=step)
        return row
