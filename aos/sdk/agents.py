"""Agents, as an application's author declares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jsonschema import Draft202012Validator, SchemaError
from pydantic import BaseModel

from aos.kernel.agents.definition import AgentDefinition, Schema
from aos.kernel.errors import InvalidDefinition
from aos.kernel.ids import check_id
from aos.sdk.parameters import ClosedJsonSchema
from aos.sdk.tools import AnyTool


class Agent:
    """An agent: instructions to a model, the tools that it may ask for, and the shape of its answer.

    Args:
        name: of the form `[a-z0-9_-]{1,64}`.
        description: one line for people.
        instructions: what the model is told before each task.
        tools: the tools that the model may ask for.
        output: the answer's shape, a pydantic model or a JSON Schema of an object; None: free text.
        model: a model of the configured provider; None: the default one.
        max_turns: how many replies of the model one step may take.
        max_output_tokens: of one reply.
        reserve_usd: the ceiling of one step's cost, reserved before it starts.

    Raises:
        InvalidDefinition: naming what is wrong.
    """

    definition: AgentDefinition

    def __init__(
        self,
        name: str,
        *,
        description: str,
        instructions: str,
        tools: Sequence[AnyTool] = (),
        output: type[BaseModel] | Mapping[str, Any] | None = None,
        model: str | None = None,
        max_turns: int = 8,
        max_output_tokens: int = 1024,
        reserve_usd: float = 0.05,
    ) -> None:
        self.tools = tuple(tools)
        self.definition = AgentDefinition(
            name=check_id(name, "agent"),
            description=description,
            instructions=instructions,
            tools=tuple(tool.name for tool in tools),
            output=_output_schema(name, output),
            model=model,
            max_turns=max_turns,
            max_output_tokens=max_output_tokens,
            reserve_usd=reserve_usd,
        )
        _check_limits(self.definition)

    @property
    def name(self) -> str:
        """The name that workflows and policies know it by."""
        return self.definition.name

    def __repr__(self) -> str:
        return f"Agent({self.name!r})"


def _output_schema(agent: str, output: type[BaseModel] | Mapping[str, Any] | None) -> Schema | None:
    if output is None:
        return None
    if isinstance(output, Mapping):
        schema = dict(output)
    else:
        schema = output.model_json_schema(schema_generator=ClosedJsonSchema)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise InvalidDefinition(f"agent {agent}: output is not a JSON Schema: {error.message}") from error
    if schema.get("type") != "object":
        raise InvalidDefinition(f"agent {agent}: output is not the schema of an object", agent=agent)
    return schema


def _check_limits(agent: AgentDefinition) -> None:
    for field in ("max_turns", "max_output_tokens"):
        if getattr(agent, field) < 1:
            raise InvalidDefinition(f"agent {agent.name}: {field} is below 1", agent=agent.name, field=field)
    if not 0 <= agent.reserve_usd < float("inf"):
        problem = f"agent {agent.name}: reserve_usd {agent.reserve_usd} is not an amount"
        raise InvalidDefinition(problem, agent=agent.name, field="reserve_usd")
    if not agent.instructions.strip():
        raise InvalidDefinition(f"agent {agent.name} has no instructions", agent=agent.name)
    if len(set(agent.tools)) != len(agent.tools):
        raise InvalidDefinition(f"agent {agent.name} names a tool twice", agent=agent.name, field="tools")
