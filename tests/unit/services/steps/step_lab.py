"""An application whose tools behave as badly as tools can, and as large as they can."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from aos.sdk import Agent, Application, ToolFailed, tool

calls: list[str] = []


@tool(effect="none")
async def exits() -> str:
    """Leave the process."""
    sys.exit(3)


@tool(effect="none")
async def cancels() -> str:
    """Cancel what it runs in, as code of a library may."""
    raise asyncio.CancelledError


@tool(effect="none")
async def says_much() -> str:
    """Fail with a great deal to say, some of which no UTF-8 can hold."""
    raise ValueError("\ud800" + "x" * 2_000_000)


@tool(effect="none")
async def refuses_much() -> str:
    """Refuse with a great deal to say."""
    raise ToolFailed("\ud800" + "x" * 2_000_000)


@tool(effect="once")
async def pay(size: int = 0, depth: int = 0) -> Any:
    """Pay, and answer with much or with something deep."""
    calls.append("pay")
    value: Any = "x" * size
    for _ in range(depth):
        value = [value]
    return value


@tool(effect="idempotent")
async def shaky() -> str:
    """Fail without saying whether it happened."""
    calls.append("shaky")
    raise OSError("the line went dead")


@tool(effect="none")
async def guarded() -> str:
    """Do what two roles must approve."""
    return "done"


clerk = Agent("clerk", description="A clerk.", instructions="Work.", tools=[pay], reserve_usd=1.0)
application = Application(
    "steplab",
    agents=[clerk],
    tools=[exits, cancels, says_much, refuses_much, pay, shaky, guarded],
    policies=Path(__file__).parent / "policies",
)
