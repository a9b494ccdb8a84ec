"""The rows of a step: what it was prepared to do, what its model said, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from aos.kernel.reasons import short
from aos.services.inference.messages import ModelReply
from aos.services.runs.values import Values
from aos.services.storage import layout
from aos.services.storage.ports import AlreadyExists, Rows

PREPARED = layout.PREPARED
RESULTS = layout.RESULTS
JOURNAL = layout.JOURNAL
CLOSINGS = layout.CLOSINGS


@dataclass(frozen=True, slots=True)
class Prepared:
    """What one attempt is to do: policy allowed it, its arguments are fixed."""

    kind: str
    """agent or tool."""
    name: str
    """The agent's or the tool's."""
    arguments: Any
    task: str = ""
    conversation: int = 1
    """The attempt that began the conversation which this one goes on with."""
    reserve_micro_usd: int = 0
    approvers: Mapping[str, str] = field(default_factory=dict)
    """Who approved this very call, by role."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """How an attempt ended; ``result`` is completed, failed or parked. Money is in micro-dollars."""

    result: str
    output: Any = None
    reason: str | None = None
    retryable: bool = False
    effects: bool = False
    in_doubt: bool = False
    """An effect may have happened, and another attempt can find out."""
    cost_micro_usd: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    facts: tuple[str, ...] = ()
    """The ids of the facts that were written on the way, in their order."""

    def having(self, *facts: str) -> StepResult:
        """Return the result with these facts before its own."""
        return replace(self, facts=(*facts, *self.facts))


@dataclass(frozen=True, slots=True)
class Turn:
    """One reply of the model as it was journalled, before anything it asks for was done."""

    attempt: int
    reply: ModelReply
    cost_micro_usd: int


class StepRows:
    """The rows of the steps of runs. ``label`` names a step, or its compensation."""

    def __init__(self, rows: Rows, values: Values) -> None:
        self._rows = rows
        self._values = values

    @property
    def values(self) -> Values:
        """Where large values of the steps lie."""
        return self._values

    async def close(self, run: str, label: str, attempt: int, failed: StepResult) -> None:
        """Write that the attempt is to fail so, before its effects are looked at: none is begun after this.

        Whoever claims an effect looks for this row after its claim; so one of the two sees the other.
        """
        value = {"reason": short(failed.reason), "retryable": failed.retryable}
        await self._insert(CLOSINGS, run, _key(label, attempt), value)

    async def closing(self, run: str, label: str, attempt: int) -> StepResult | None:
        """Return how the attempt is about to fail, or None."""
        row = await self._rows.get(CLOSINGS, run, _key(label, attempt))
        return None if row is None else StepResult("failed", **row.value)

    async def write_prepared(self, run: str, label: str, attempt: int, prepared: Prepared) -> None:
        """Write what the attempt is to do, unless it was written before."""
        value = asdict(prepared) | {
            "arguments": await self._values.keep(run, prepared.arguments),
            "task": await self._values.keep(run, prepared.task),
        }
        await self._insert(PREPARED, run, _key(label, attempt), value)

    async def prepared(self, run: str, label: str, attempt: int) -> Prepared | None:
        """Return what the attempt is to do, or None if it was not prepared to do anything."""
        row = await self._rows.get(PREPARED, run, _key(label, attempt))
        if row is None:
            return None
        kept = {name: await self._values.load(run, row.value[name]) for name in ("arguments", "task")}
        return Prepared(**(row.value | kept))

    async def write_result(self, run: str, label: str, attempt: int, result: StepResult) -> StepResult:
        """Write how the attempt ended, unless it has ended; return how it ended."""
        value = asdict(result) | {
            "output": await self._values.keep(run, result.output),
            "reason": short(result.reason),
        }
        await self._insert(RESULTS, run, _key(label, attempt), value)
        written = await self.result(run, label, attempt)
        assert written is not None
        return written

    async def result(self, run: str, label: str, attempt: int) -> StepResult | None:
        """Return how the attempt ended, or None if it has not."""
        row = await self._rows.get(RESULTS, run, _key(label, attempt))
        if row is None:
            return None
        output = await self._values.load(run, row.value["output"])
        return StepResult(**(row.value | {"output": output, "facts": tuple(row.value["facts"])}))

    async def journal(self, run: str, label: str, conversation: int) -> list[Turn]:
        """Return the turns of a conversation so far."""
        page = await self._rows.list(JOURNAL, run, prefix=f"{_key(label, conversation)}.", limit=1000)
        return [await self._turn(run, row.value) for row in page.rows]

    async def write_turn(self, run: str, label: str, conversation: int, number: int, turn: Turn) -> Turn:
        """Journal a turn; if that turn was taken already, the one that was written first is returned."""
        key = f"{_key(label, conversation)}.{number:03d}"
        value = {
            "attempt": turn.attempt,
            "reply": await self._values.keep(run, turn.reply.to_json()),
            "cost_micro_usd": turn.cost_micro_usd,
        }
        try:
            await self._rows.insert(JOURNAL, run, key, value)
        except AlreadyExists:
            row = await self._rows.get(JOURNAL, run, key)
            assert row is not None
            return await self._turn(run, row.value)
        return turn

    async def _turn(self, run: str, value: Mapping[str, Any]) -> Turn:
        reply = ModelReply.from_json(await self._values.load(run, value["reply"]))
        return Turn(value["attempt"], reply, value["cost_micro_usd"])

    async def _insert(self, table: str, run: str, key: str, value: Mapping[str, Any]) -> None:
        try:
            await self._rows.insert(table, run, key, value)
        except AlreadyExists:
            return


def _key(label: str, attempt: int) -> str:
    return f"{label}.{attempt:04d}"
