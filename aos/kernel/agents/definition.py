"""What an agent and a tool are, as values: no code, nothing that acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

type Schema = Mapping[str, Any]
"""A JSON Schema (draft 2020-12)."""


class Effect(StrEnum):
    """What a tool's call does to the world, and so what may be done after a crash in the middle of it."""

    NONE = "none"
    """Computes or reads; may be called again freely."""
    IDEMPOTENT = "idempotent"
    """Changes the world once per idempotency key: called again with the same key."""
    QUERYABLE = "queryable"
    """The target can be asked whether the call with this key happened."""
    ONCE = "once"
    """Neither: after a crash the outcome is unknown until an operator says what happened."""


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool that agents and workflows may call, if policy permits."""

    name: str
    description: str
    parameters: Schema
    """The JSON Schema of the arguments, an object."""
    effect: Effect = Effect.NONE
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class AgentDefinition:
    """An agent: instructions to a model, the tools that it may ask for, and its limits."""

    name: str
    description: str
    instructions: str
    tools: tuple[str, ...] = ()
    output: Schema | None = None
    """The JSON Schema of the answer, an object; None: the answer is ``{"text": ...}``."""
    model: str | None = None
    """A model of the configured provider; None: the default one."""
    max_turns: int = 8
    """How many replies of the model one step may take."""
    max_output_tokens: int = 1024
    reserve_usd: float = 0.05
    """The ceiling of a step's cost, reserved before it starts."""
    labels: Mapping[str, str] = field(default_factory=dict)
