"""What the API takes and gives. Times are RFC 3339 in UTC, money is in US dollars."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
NOT_BLANK = r"\S"
Reason = Annotated[str, Field(pattern=NOT_BLANK, max_length=2000)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RunState = Literal["accepted", "running", "waiting", "completed", "failed", "cancelled"]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class StartRun(_Model):
    """Start a run."""

    input: dict[str, Any]
    """What the workflow works on; it must fit the workflow's schema."""
    budget_usd: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | None = None
    """What the run may cost; without it, the workflow's own limit."""


class CancelRun(_Model):
    """Ask a run to stop; what it did is undone."""

    reason: Reason


class DecideApproval(_Model):
    """Approve or reject exactly the action with this hash, which the run shows."""

    approve: bool
    reason: Reason
    action_hash: Hash


class ResolveEffect(_Model):
    """Say what came of an effect whose outcome is unknown."""

    happened: bool
    reason: Reason


class Step(_Model):
    """One step of a run."""

    id: str
    kind: Literal["agent", "tool", "approval", "delay"]
    agent: str | None
    tool: str | None
    needs: list[str]
    state: str
    attempt: int
    started_at: Time | None
    ended_at: Time | None
    cost_usd: float
    reason: str | None


class CompensationState(_Model):
    """The undoing of a step that was done."""

    step: str
    tool: str | None
    state: str
    attempt: int
    started_at: Time | None
    ended_at: Time | None
    reason: str | None


class ApprovalAction(_Model):
    """What would be done."""

    kind: str
    name: str
    arguments: Any


class ApprovalView(_Model):
    """An approval that a step asks for, and what was decided."""

    step: str
    role: str
    state: str
    prompt: str
    action: ApprovalAction
    action_hash: str
    requested_at: Time
    expires_at: Time
    actor: str | None
    reason: str | None


class EffectView(_Model):
    """What is known of one effect on the world."""

    id: str
    step: str
    kind: str
    state: str
    note: str | None


class RunSummary(_Model):
    """A run in a list. ``waiting`` is running with an open approval or an effect nobody knows of."""

    id: str
    workflow: str
    definition: str
    """The hash of the definition's snapshot that the run goes by."""
    status: RunState
    created_at: Time
    created_by: str
    ended_at: Time | None
    reason: str | None
    budget_usd: float | None
    cost_usd: float
    input_tokens: int
    output_tokens: int


class RunView(RunSummary):
    """A run with its steps and all that came of it."""

    input: Any
    output: Any
    steps: list[Step]
    compensations: list[CompensationState]
    approvals: list[ApprovalView]
    effects: list[EffectView]
    log_size: int
    """How many records the run's log has."""


class RunPage(_Model):
    """Some runs, newest first; ``next``, given as ``after``, goes on from here."""

    runs: list[RunSummary]
    next: str | None


class WorkflowSummary(_Model):
    """A workflow that can be started."""

    name: str
    description: str
    hash: str
    """Names exactly this definition."""
    budget_usd: float | None
    steps: int


class WorkflowList(_Model):
    """The workflows that can be started, by name."""

    workflows: list[WorkflowSummary]


class WorkflowView(WorkflowSummary):
    """A workflow with its definition."""

    input_schema: dict[str, Any]
    """The JSON Schema (draft 2020-12) that a run's input must fit."""
    definition: dict[str, Any]


class AgentView(_Model):
    """An agent as it is defined, and how its instance is; ``state`` is null before its first work."""

    name: str
    description: str
    tools: list[str]
    model: str | None
    max_turns: int
    max_output_tokens: int
    reserve_usd: float
    state: str | None
    active: int
    completed: int
    failed: int
    consecutive_failures: int
    reason: str | None
    last_finished_at: Time | None


class AgentList(_Model):
    """The application's agents, by name."""

    agents: list[AgentView]


class Health(_Model):
    """How the service is."""

    status: Literal["live", "ready"]
