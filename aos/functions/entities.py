"""The entity functions: a reducer's state, and one operation for each of its events."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import azure.durable_functions as df
from durabletask.entities import EntityContext

from aos.kernel.agents.lifecycle import (
    AgentInstance,
    Assign,
    Refused,
    Register,
    advance,
    event_named,
    first_assignment,
)
from aos.kernel.errors import AosError
from aos.kernel.scheduling import budget as ledger

blueprint = df.Blueprint()

_BUDGET_EVENTS = {"settle": ledger.Settle, "release": ledger.Release, "compact": ledger.Compact}


@blueprint.entity_trigger(context_name="context", entity_name="agent")
def agent(context: EntityContext, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
    """Hold an agent's life; the key is ``tenant.agent``.

    ``assign`` starts an agent that is not started. An event that the state does not take is answered
    with its error and changes nothing.
    """
    state = context.get_state()
    instance = AgentInstance.from_json(state) if state else None
    try:
        if context.operation == "assign":
            given = arguments or {}
            register = Register(definition=given["definition"])
            instance, outcome = first_assignment(instance, register, Assign(given["work"], given["at"]))
        else:
            instance, outcome = advance(instance, event_named(context.operation, arguments))
    except AosError as error:
        return {"result": "error", "code": error.code, "reason": error.message}
    context.set_state(instance.to_json())
    if isinstance(outcome, Refused):
        return {"result": "refused", "state": outcome.state.value, "reason": outcome.reason}
    return {"result": type(outcome).__name__.lower(), "state": instance.state.value}


@blueprint.entity_trigger(context_name="context", entity_name="budget")
def budget(context: EntityContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Hold a budget's ledger; the key is ``tenant.scope``. Amounts are micro-dollars.

    ``reserve`` carries the limit, so that the ledger need not be made beforehand. What the ledger does
    not take is answered with an error and changes nothing.
    """
    state = context.get_state()
    held = ledger.Budget.from_json(state) if state else None
    try:
        if context.operation == "reserve":
            limit = arguments["limit"]
            held, _ = ledger.advance(held or ledger.Budget(limit=limit), ledger.SetLimit(limit))
            event: ledger.Event = ledger.Reserve(arguments["id"], arguments["amount"], arguments["at"])
        elif held is not None and context.operation in _BUDGET_EVENTS:
            event = _BUDGET_EVENTS[context.operation](**arguments)
        else:
            return {"result": "error", "reason": f"a budget has no operation {context.operation!r} now"}
        held, result = ledger.advance(held, event)
    except AosError as error:
        return {"result": "error", "code": error.code, "reason": error.message}
    context.set_state(held.to_json())
    return {"result": type(result).__name__.lower(), **asdict(result)}
