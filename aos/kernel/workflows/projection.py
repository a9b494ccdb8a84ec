"""What a run's log says of its steps, compensations and cost: a fold over its records.

The log is the only source: whoever has a dossier sees the same as whoever asks the API. Records of
types that say nothing of steps, and steps that the run does not have, change nothing; nor do facts
that an outage brought into the log after the step that they speak of had ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from aos.kernel.governance.audit.records import FactType, Record
from aos.kernel.workflows.state import ENDED, StepStatus

UNDO = "~undo"
"""What a step's label ends with in facts about its compensation."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step, or a compensation, has come. Times are RFC 3339, as the records carry them.

    ``started_at`` is when its first attempt was scheduled, ``ended_at`` when it ended for good.
    """

    state: StepStatus = StepStatus.WAITING
    attempt: int = 0
    started_at: str | None = None
    ended_at: str | None = None
    cost_micro_usd: int = 0
    reason: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class Projection:
    """A run as its log tells it. Costs are in millionths of a US dollar."""

    steps: Mapping[str, Progress]
    compensations: Mapping[str, Progress] = field(default_factory=dict)
    """By the step that they undo, in the order in which they began."""
    cost_micro_usd: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    ended_at: str | None = None


def project(steps: Iterable[str], records: Iterable[Record]) -> Projection:
    """Return what the records, in their order, say of a run that has these steps."""
    return reduce(advance, records, Projection({step: Progress() for step in steps}))


def advance(run: Projection, record: Record) -> Projection:
    """Take the next record of the log."""
    if record.leaf.type == FactType.RUN_ENDED:
        return _run_ended(run, record.leaf.at)
    name = str(record.leaf.subject.get("step", ""))
    payload = record.payload if isinstance(record.payload, Mapping) else {}
    step = name.removesuffix(UNDO)
    if step not in run.steps:
        return run
    if change := _COMPENSATION.get(record.leaf.type):
        known = run.compensations.get(step, Progress())
        return _with_compensation(run, step, change(known, record, payload))
    change = _STEP.get(record.leaf.type)
    if change is None:
        return run
    if name.endswith(UNDO) or payload.get("compensation"):
        undo = run.compensations.get(step)
        return _with_compensation(run, step, change(undo, record, payload)) if undo else run
    changed = change(run.steps[step], record, payload)
    return _charged(replace(run, steps={**run.steps, step: changed}), payload)


type _Change = Callable[[Progress, Record, Mapping[str, Any]], Progress]


def _with_compensation(run: Projection, step: str, progress: Progress) -> Projection:
    return replace(run, compensations={**run.compensations, step: progress})


def _charged(run: Projection, payload: Mapping[str, Any]) -> Projection:
    return replace(
        run,
        cost_micro_usd=run.cost_micro_usd + payload.get("cost_micro_usd", 0),
        input_tokens=run.input_tokens + payload.get("input_tokens", 0),
        output_tokens=run.output_tokens + payload.get("output_tokens", 0),
    )


def _run_ended(run: Projection, at: str) -> Projection:
    """Call off what never ended: the engine writes no record of a step that it withdraws."""

    def closed(step: Progress) -> Progress:
        if step.ended:
            return step
        return replace(step, state=StepStatus.CANCELLED, ended_at=at if step.started_at else None)

    return replace(run, steps={name: closed(step) for name, step in run.steps.items()}, ended_at=at)


def _begun(step: Progress, record: Record, payload: Mapping[str, Any]) -> Progress:
    """An attempt is scheduled. Approvals and delays, which have no attempts, name their kind."""
    state = StepStatus.PREPARING if "kind" in payload else StepStatus.RUNNING
    return replace(
        step,
        state=state,
        attempt=int(record.leaf.subject.get("attempt", step.attempt)),
        started_at=step.started_at or record.leaf.at,
        ended_at=None,
        reason=None,
    )


def _ended(state: StepStatus) -> _Change:
    def change(step: Progress, record: Record, payload: Mapping[str, Any]) -> Progress:
        step = _costing(step, payload)
        return replace(step, state=state, ended_at=record.leaf.at, reason=payload.get("reason"))

    return change


def _held(state: StepStatus) -> _Change:
    """The step goes on later, for the reason given."""

    def change(step: Progress, _: Record, payload: Mapping[str, Any]) -> Progress:
        return replace(_costing(step, payload), state=state, reason=payload.get("reason"))

    return change


def _costing(step: Progress, payload: Mapping[str, Any]) -> Progress:
    return replace(step, cost_micro_usd=step.cost_micro_usd + payload.get("cost_micro_usd", 0))


def _approval_requested(step: Progress, _: Record, payload: Mapping[str, Any]) -> Progress:
    under_way = step.state in (StepStatus.PREPARING, StepStatus.RUNNING)
    return replace(step, state=StepStatus.AWAITING_APPROVAL) if under_way else step


def _approval_decided(step: Progress, _: Record, payload: Mapping[str, Any]) -> Progress:
    waits = step.state is StepStatus.AWAITING_APPROVAL
    return replace(step, state=StepStatus.RUNNING) if waits else step


def _undo_failed(undo: Progress, record: Record, payload: Mapping[str, Any]) -> Progress:
    final = payload.get("final", True)
    state = StepStatus.FAILED if final else StepStatus.RETRYING
    return replace(
        undo, state=state, reason=payload.get("reason"), ended_at=record.leaf.at if final else None
    )


_STEP: Mapping[str, _Change] = {
    FactType.STEP_SCHEDULED: _begun,
    FactType.STEP_COMPLETED: _ended(StepStatus.COMPLETED),
    FactType.STEP_FAILED: _ended(StepStatus.FAILED),
    FactType.STEP_SKIPPED: _ended(StepStatus.SKIPPED),
    FactType.STEP_RETRYING: _held(StepStatus.RETRYING),
    FactType.STEP_PARKED: _held(StepStatus.PARKED),
    FactType.DELAY_STARTED: _held(StepStatus.DELAYED),
    FactType.APPROVAL_REQUESTED: _approval_requested,
    FactType.APPROVAL_DECIDED: _approval_decided,
}

_COMPENSATION: Mapping[str, _Change] = {
    FactType.COMPENSATION_STARTED: _begun,
    FactType.COMPENSATION_COMPLETED: _ended(StepStatus.COMPLETED),
    FactType.COMPENSATION_FAILED: _undo_failed,
}
