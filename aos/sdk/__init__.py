"""What an application's author imports: tools, agents, applications, and the client of the API."""

from aos.kernel.agents.definition import AgentDefinition, Effect, ToolDefinition
from aos.kernel.canonical import Json
from aos.kernel.errors import AosError
from aos.sdk.agents import Agent
from aos.sdk.application import Application, load_application
from aos.sdk.client import AosClient, RunEvent
from aos.sdk.context import Memory, MemoryEntry, ToolContext
from aos.sdk.memory import VolatileMemory
from aos.sdk.tools import AnyTool, Tool, ToolFailed, tool

__all__ = [
    "Agent",
    "AgentDefinition",
    "AnyTool",
    "AosClient",
    "AosError",
    "Application",
    "Effect",
    "Json",
    "Memory",
    "MemoryEntry",
    "RunEvent",
    "Tool",
    "ToolContext",
    "ToolDefinition",
    "ToolFailed",
    "VolatileMemory",
    "load_application",
    "tool",
]
