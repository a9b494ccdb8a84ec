"""The state of a run, and the events and commands that the run reducer takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from aos.kernel.workflows.plan import Plan


class StepStatus(StrEnum):
    """Where a step stands."""

    WAITING = "waiting"
    PREPARING = "preparing"
    RUNNING = "running"
    RETRYING = "retrying"
    AWAITING_APPROVAL = "awaiting_approval"
    DELAYED = "delayed"
    PARKED = "parked"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({StepStatus.COMPLETED, StepStatus.SKIPPED, StepStatus.FAILED, StepStatus.CANCELLED})
IN_FLIGHT = frozenset({StepStatus.PREPARING, StepStatus.RUNNING, StepStatus.PARKED})
"""What a run that fails waits for: these steps may be changing the world."""


class Phase(StrEnum):
    """Where a run stands."""

    FORWARD = "forward"
    CONCLUDING = "concluding"
    COMPENSATING = "compensating"
    ENDED = "ended"


class RunOutcome(StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class StepState:
    """One step, or one compensation. ``attempt`` counts dispatches from 1, ``failures`` those that failed."""

    status: StepStatus = StepStatus.WAITING
    attempt: int = 0
    failures: int = 0
    effects: bool = False
    in_doubt: bool = False
    """An effect of it may have happened; the next attempt would find out."""
    wake_at: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class RunState:
    """A run between two events. Costs are in millionths of a US dollar."""

    steps: Mapping[str, StepState]
    phase: Phase = Phase.FORWARD
    finished: tuple[str, ...] = ()
    """Steps that a compensation could undo, in the order in which they ended."""
    undo: Mapping[str, StepState] = field(default_factory=dict)
    """Compensations, in the order in which they run."""
    failure: str | None = None
    cancelled: bool = False
    draining: bool = False
    cost_micro_usd: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def stopping(self) -> bool:
        """Whether the run goes no further forward."""
        return self.cancelled or self.failure is not None

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON."""
        return asdict(self)


def new_state(plan: Plan) -> RunState:
    """Return the state of a run that has not begun."""
    return RunState(steps={step: StepState() for step in plan})


def state_from_json(value: Mapping[str, Any]) -> RunState:
    """Return the state that ``RunState.to_json`` gave."""

    def steps(items: Mapping[str, Any]) -> dict[str, StepState]:
        return {
            step: StepState(**(item | {"status": StepStatus(item["status"])})) for step, item in items.items()
        }

    changed = {
        "steps": steps(value["steps"]),
        "undo": steps(value["undo"]),
        "phase": Phase(value["phase"]),
        "finished": tuple(value["finished"]),
    }
    return RunState(**(dict(value) | changed))


# Events: what happened.


@dataclass(frozen=True, slots=True)
class Started:
    """The run begins."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The run goes on in a fresh history."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An approval or a delay was prepared; ``result`` is ready, skipped or failed."""

    step: str
    result: str
    seconds: float = 0.0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A dispatch of a step, or of its compensation, came to an end.

    ``result`` is completed, skipped, failed, parked (an effect's outcome is unknown) or needs_approval.
    ``effects`` tells that the world was changed, whatever the result; ``in_doubt`` that it may have been,
    and that another attempt can find out.
    """

    step: str
    attempt: int
    result: str
    compensation: bool = False
    retryable: bool = False
    effects: bool = False
    reason: str | None = None
    cost_micro_usd: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    in_doubt: bool = False


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The timer of a step, or of its compensation, set for ``at`` fired."""

    step: str
    at: float
    compensation: bool = False


@dataclass(frozen=True, slots=True)
class Rang:
    """A doorbell: look at what is in the rows. ``kind`` is approval, resolution or cancel."""

    kind: str
    step: str | None = None


@dataclass(frozen=True, slots=True)
class ApprovalRead:
    """The approval of a step stands so: requested, approved, rejected, expired or withdrawn."""

    step: str
    status: str
    actor: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class CancelRead:
    """Whether the run was asked to stop, by whom and why."""

    requested: bool
    actor: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class OutputEvaluated:
    """The run's output was evaluated; ``reason`` says why it could not be."""

    reason: str | None = None


type Event = (
    Started | Resumed | Prepared | StepEnded | TimerFired | Rang | ApprovalRead | CancelRead | OutputEvaluated
)

# Commands: what is to be done.


@dataclass(frozen=True, slots=True)
class Prepare:
    """Prepare an approval or a delay; answered by ``Prepared``."""

    step: str


@dataclass(frozen=True, slots=True)
class RunStep:
    """Dispatch a step or its compensation; answered by ``StepEnded``.

    ``final``: no further attempt follows if this one fails.
    """

    step: str
    attempt: int
    compensation: bool = False
    final: bool = False


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Wake the step, or its compensation, at ``at`` (unix seconds); answered by ``TimerFired``."""

    step: str
    at: float
    compensation: bool = False


@dataclass(frozen=True, slots=True)
class SettleApproval:
    """Read an approval; close it as expired or withdrawn if it is open. Answered by ``ApprovalRead``."""

    step: str
    close: str | None = None


@dataclass(frozen=True, slots=True)
class ReadCancel:
    """Read whether the run was asked to stop; answered by ``CancelRead``."""


@dataclass(frozen=True, slots=True)
class EvaluateOutput:
    """Evaluate the run's output; answered by ``OutputEvaluated``."""


@dataclass(frozen=True, slots=True)
class Record:
    """Put a fact of this type into the run's log."""

    type: str
    subject: Mapping[str, Any]
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class End:
    """The run is over."""

    outcome: RunOutcome
    reason: str | None = None


type Command = Prepare | RunStep | StartTimer | SettleApproval | ReadCancel | EvaluateOutput | Record | End
