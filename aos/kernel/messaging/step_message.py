"""The message that has one step run by whichever worker takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from aos.kernel.errors import InvalidInput
from aos.kernel.ids import LONGEST_INSTANCE_ID, derived_id, fitting

AGENT_STEPS = "agent-steps"
"""The queue of steps to be run. It has no sessions: they would throttle scaling out."""


@dataclass(frozen=True, slots=True)
class StepMessage:
    """Run this attempt of this step. ``deadline`` is in unix seconds: no effect is begun after it."""

    run: str
    step: str
    attempt: int
    compensation: bool
    final: bool
    """Whether no further attempt follows if this one fails."""
    deadline: float
    send: int = 1
    """Counts deliberate sends, so that duplicate detection never eats one."""
    conclude: str | None = None
    """Set when nobody is to work on the step any more: why. It is only to be brought to an end."""

    @property
    def label(self) -> str:
        """The name under which the step's rows lie: its compensation is a step of its own."""
        return step_label(self.step, compensation=self.compensation)

    @property
    def message_id(self) -> str:
        """The id by which the broker tells duplicates."""
        return derived_id("message", self.run, self.label, self.attempt, self.send)

    @property
    def orchestration(self) -> str:
        """The instance that waits for the result."""
        return step_orchestration(self.run, self.step, self.attempt, compensation=self.compensation)

    def again(self, *, conclude: str | None = None) -> StepMessage:
        """Return the message to send when the step must be come back to later."""
        return replace(self, send=self.send + 1, conclude=conclude or self.conclude)

    def concluding(self, reason: str) -> StepMessage:
        """Return the message with which the step is only to be brought to an end."""
        return replace(self, conclude=reason)

    def to_json(self) -> dict[str, Any]:
        """Return the message as JSON."""
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> StepMessage:
        """Read what ``to_json`` gave; ``InvalidInput`` if it is something else."""
        try:
            return StepMessage(**value)
        except TypeError as error:
            raise InvalidInput(f"this is no step message: {error}") from None


def step_label(step: str, *, compensation: bool) -> str:
    """Return the name of a step's rows, or of its compensation's."""
    return f"{step}~undo" if compensation else step


def step_orchestration(run: str, step: str, attempt: int, *, compensation: bool) -> str:
    """Return the id of the orchestration of one attempt."""
    return fitting(f"{run}-{step}-{'undo-' if compensation else ''}{attempt}", LONGEST_INSTANCE_ID)
