"""A run that was accepted, its steps to be worked on, on real storage; the engine, the queue and the
model are stood in for in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import step_lab

from aos.kernel.agents.definition import Schema, ToolDefinition
from aos.kernel.messaging.step_message import StepMessage
from aos.services.environment.settings import Settings
from aos.services.inference.messages import Message, ModelReply, ToolCall, Usage
from aos.services.runs.runs import Request
from aos.services.steps.preparation import Preparation, Progress
from aos.services.system import System, open_system

NOTHING = Progress({}, {})


@dataclass
class MovedClock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Engine:
    events: list[tuple[str, str]] = field(default_factory=list)

    async def start(self, run: str) -> None:
        self.events.append((run, "start"))

    async def raise_event(self, instance: str, name: str, data: Mapping[str, Any]) -> None:
        self.events.append((instance, name))


@dataclass
class Queue:
    sent: list[tuple[StepMessage, float | None]] = field(default_factory=list)

    async def send(self, message: StepMessage, *, at: float | None = None) -> None:
        self.sent.append((message, at))


@dataclass
class Script:
    """A model that says what it was given to say; an exception in its place is raised."""

    replies: list[ModelReply | Exception] = field(default_factory=list)
    provider: str = "script"
    default_model: str = "mock"

    def model_for(self, model: str | None) -> str:
        return "mock"

    async def complete(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolDefinition],
        *,
        model: str | None,
        output_schema: Schema | None,
        max_output_tokens: int,
        timeout_s: float,
    ) -> ModelReply:
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def count_tokens(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolDefinition],
        output_schema: Schema | None = None,
    ) -> int:
        return 10

    async def close(self) -> None:
        pass


def says(text: str = "", *calls: tuple[str, dict[str, Any]]) -> ModelReply:
    made = tuple(ToolCall(f"c{index}", name, arguments) for index, (name, arguments) in enumerate(calls))
    return ModelReply(text, made, Usage(1000, 500), "script", "mock", "tool_calls" if made else "stop")


@dataclass
class World:
    """One run of a workflow, and what its orchestrations would ask for."""

    system: System
    clock: MovedClock
    engine: Engine
    queue: Queue
    model: Script
    run: str = ""

    async def accept(self, workflow: str, value: Mapping[str, Any] | None = None) -> str:
        definition = self.system.definitions.check(workflow)
        accepted, _ = await self.system.runs.accept(
            Request(definition.name, value or {}, None, "user:ann"), definition
        )
        self.run = accepted.id
        return self.run

    async def prepare(self, step: str = "a", attempt: int = 1, progress: Progress = NOTHING) -> Preparation:
        return await self.system.preparer.prepare(self.run, step, attempt, progress)

    def message(self, step: str = "a", attempt: int = 1, *, final: bool = False) -> StepMessage:
        return StepMessage(self.run, step, attempt, False, final, self.clock() + 100.0)

    async def result(self, step: str = "a", attempt: int = 1) -> Any:
        return await self.system.steps.result(self.run, step, attempt)

    async def worked(self, step: str = "a", attempt: int = 1, *, final: bool = False) -> Any:
        """Prepare the attempt, run it, and return its result."""
        prepared = await self.prepare(step, attempt)
        assert prepared.result == "ready", prepared
        await self.system.worker.handle(self.message(step, attempt, final=final))
        return await self.result(step, attempt)


def open_world(folder: Path, patch: pytest.MonkeyPatch) -> World:
    """Open the lab on storage in this folder."""
    step_lab.calls.clear()
    clock, engine, queue, model = MovedClock(), Engine(), Queue(), Script()
    patch.setattr("aos.services.backends.make_model_client", lambda *_, **__: model)
    settings = Settings(application="step_lab", data=folder, model_price_input=1.0, model_price_output=2.0)
    return World(open_system(settings, engine, queue, clock=clock), clock, engine, queue, model)
