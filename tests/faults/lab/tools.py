"""The tools of the tests: each calls the target over HTTP, where the calls are counted."""

from __future__ import annotations

import os
import signal
from typing import Any

import httpx

from aos.sdk import ToolContext, ToolFailed, tool

TIMEOUT_S = 1.0
_client = httpx.AsyncClient(base_url=os.environ["LAB_TARGET"], timeout=20.0, trust_env=False)


async def _ask(path: str, name: str, context: ToolContext, **more: Any) -> dict[str, Any]:
    call = {"tool": name, "run": context.run_id, "step": context.step, "key": context.idempotency_key}
    response = await _client.post(path, json=call | more)
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        raise ToolFailed("the target says: not now", retryable=True)
    answer: dict[str, Any] = response.raise_for_status().json()
    return answer


async def _asked(key: str, context: ToolContext) -> dict[str, Any] | None:
    del context
    answer: dict[str, Any] | None = (await _client.get(f"/effects/{key}")).raise_for_status().json()
    return answer


@tool(effect="none", timeout_s=TIMEOUT_S)
async def look(what: str, context: ToolContext, fail_first: int = 0) -> dict[str, Any]:
    """Look at something; it changes nothing."""
    await _ask("/blind", "look", context, fail_first=fail_first)
    return {"seen": what}


@tool(effect="idempotent", timeout_s=TIMEOUT_S)
async def charge(
    amount: float, context: ToolContext, fail_first: int = 0, hang_first: int = 0
) -> dict[str, Any]:
    """Charge an amount; the target honours the key."""
    asked = {"amount": amount, "fail_first": fail_first, "hang_first": hang_first}
    return await _ask("/honest", "charge", context, **asked)


@tool(effect="idempotent", timeout_s=TIMEOUT_S)
async def refund(receipt: str, context: ToolContext, fail_first: int = 0) -> dict[str, Any]:
    """Undo a charge; the target honours the key."""
    return await _ask("/honest", "refund", context, receipt=receipt, fail_first=fail_first)


@tool(effect="once", timeout_s=TIMEOUT_S)
async def wire(amount: float, context: ToolContext, hang_first: int = 0) -> dict[str, Any]:
    """Wire an amount; the target ignores the key: a second call is a second transfer."""
    return await _ask("/blind", "wire", context, amount=amount, hang_first=hang_first)


@tool(effect="queryable", timeout_s=TIMEOUT_S, query=_asked)
async def book(room: str, context: ToolContext, hang_first: int = 0) -> dict[str, Any]:
    """Book a room; the target ignores the key, but can be asked what came of a call."""
    return await _ask("/blind", "book", context, room=room, hang_first=hang_first)


@tool(effect="idempotent", timeout_s=TIMEOUT_S)
async def unbook(receipt: str, context: ToolContext) -> dict[str, Any]:
    """Undo a booking; the target honours the key."""
    return await _ask("/honest", "unbook", context, receipt=receipt)


@tool(effect="idempotent", timeout_s=TIMEOUT_S)
async def refuse(context: ToolContext) -> dict[str, Any]:
    """Refuse, whatever is asked."""
    del context
    raise ToolFailed("this tool refuses")


@tool(effect="idempotent", timeout_s=TIMEOUT_S)
async def guarded(amount: float, context: ToolContext) -> dict[str, Any]:
    """Spend what a policy wants approved first."""
    return await _ask("/honest", "guarded", context, amount=amount)


@tool(effect="idempotent", timeout_s=TIMEOUT_S)
async def open_vault(code: str, context: ToolContext) -> dict[str, Any]:
    """Open the vault, which a policy forbids."""
    return await _ask("/honest", "open_vault", context, code=code)


@tool(effect="none", timeout_s=TIMEOUT_S)
async def lethal() -> None:
    """End the worker, whenever it is called."""
    os.kill(os.getpid(), signal.SIGKILL)


@tool(effect="idempotent", timeout_s=TIMEOUT_S)
async def lethal_charge(amount: float, context: ToolContext) -> None:
    """Charge an amount, and end the worker each time."""
    await _ask("/honest", "lethal_charge", context, amount=amount)
    os.kill(os.getpid(), signal.SIGKILL)
