"""What people do to runs: start, cancel, approve, resolve: a policy question, rows, a doorbell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import SpanKind

from aos.kernel.canonical import Json
from aos.kernel.errors import InvalidInput, PolicyDenied
from aos.kernel.governance.policy import Entity, PolicyEngine, PolicyRequest
from aos.kernel.scheduling.budget import micro_usd
from aos.services.auth.principal import Principal
from aos.services.definitions.definitions import Definitions
from aos.services.effects.effects import Effects
from aos.services.observability.tracing import TRACEPARENT, carried, span
from aos.services.runs.approvals import Approvals, Asked
from aos.services.runs.doorbells import Doorbells
from aos.services.runs.run import Run
from aos.services.runs.runs import Request, Runs


class Operations:
    """The writes that callers of the API may make."""

    def __init__(
        self,
        *,
        definitions: Definitions,
        runs: Runs,
        approvals: Approvals,
        effects: Effects,
        doorbells: Doorbells,
        policy: PolicyEngine,
    ) -> None:
        self._definitions = definitions
        self._runs = runs
        self._approvals = approvals
        self._effects = effects
        self._doorbells = doorbells
        self._policy = policy

    async def start_run(
        self,
        principal: Principal,
        workflow: str,
        value: Mapping[str, Any],
        *,
        budget_usd: float | None = None,
        idempotency_key: str | None = None,
    ) -> tuple[Run, bool]:
        """Accept a run; say whether it is new. The same key and request give the same run.

        Raises:
            NotFound: there is no such workflow.
            InvalidInput: the input does not fit it.
            Conflict: the key was used for another request.
            PolicyDenied: the caller may not start it.
        """
        definition = self._definitions.current(workflow)
        self._ask(principal, "run.start", Entity("Workflow", workflow), {"workflow": workflow})
        budget = definition.budget_usd if budget_usd is None else budget_usd
        with span(f"start_run {workflow}", {"aos.workflow": workflow}, kind=SpanKind.PRODUCER) as current:
            request = Request(
                workflow,
                value,
                None if budget is None else micro_usd(budget),
                principal.actor,
                idempotency_key,
                carried().get(TRACEPARENT),
            )
            run, bell = await self._runs.accept(request, definition)
            current.set_attribute("aos.run", run.id)
            if bell is None:
                return run, False
            await self._doorbells.ring(bell)
            return run, True

    async def cancel_run(self, principal: Principal, run_id: str, reason: str) -> Run:
        """Ask the run to stop; what it did is undone. ``Conflict`` if it has ended."""
        _check_reason(reason)
        run = await self._runs.get(run_id)
        self._ask(principal, "run.cancel", Entity("Run", run_id), {"run": run_id, "workflow": run.workflow})
        async with self._doorbells.around(run_id, "cancel"):
            return await self._runs.request_cancel(run_id, principal.actor, reason)

    async def decide(
        self,
        principal: Principal,
        run_id: str,
        step: str,
        *,
        approve: bool,
        reason: str,
        action_hash: str,
    ) -> Asked:
        """Approve or reject what a step asks for, on the action that was seen.

        Raises:
            PolicyDenied: the caller has not the role that the approval asks for.
            Conflict: the action is another than the one seen, or was decided otherwise.
        """
        run = await self._runs.get(run_id)
        asked = await self._approvals.get(run_id, step)
        resource = Entity("Approval", f"{run_id}.{step}")
        attributes: dict[str, Json] = {"role": asked.approval.role, "run": run_id}
        place: dict[str, Json] = {"run": run_id, "workflow": run.workflow, "step": step}
        self._ask(principal, "approval.decide", resource, place, attributes)
        async with self._doorbells.around(run_id, "approval", step):
            return await self._approvals.decide(
                run_id, step, actor=principal.actor, action_hash=action_hash, approve=approve, reason=reason
            )

    async def resolve_effect(
        self, principal: Principal, run_id: str, effect_id: str, *, happened: bool, reason: str
    ) -> None:
        """Say what came of an effect whose outcome is unknown; the step that it parks goes on.

        Raises:
            Conflict: it is not unknown, or was resolved otherwise.
        """
        _check_reason(reason)
        run = await self._runs.get(run_id)
        place: dict[str, Json] = {"run": run_id, "workflow": run.workflow}
        resource = Entity("Effect", effect_id)
        self._ask(principal, "effect.resolve", resource, place, {"run": run_id})
        key = await self._effects.find(run_id, effect_id)
        step = key.step.removesuffix("~undo")
        async with self._doorbells.around(run_id, "resolution", step):
            await self._effects.resolve(key, happened=happened, actor=principal.actor, reason=reason)

    def _ask(
        self,
        principal: Principal,
        action: str,
        resource: Entity,
        place: Mapping[str, Json],
        attributes: Mapping[str, Json] | None = None,
    ) -> None:
        user = Entity("User", principal.id)
        roles: list[Json] = [*sorted(principal.roles)]
        context: dict[str, Json] = {"tenant": principal.tenant, "arguments": {}, **place}
        entities: dict[Entity, Mapping[str, Json]] = {user: {"roles": roles}, resource: attributes or {}}
        decision = self._policy.decide(PolicyRequest(user, action, resource, context, entities))
        if decision.allowed:
            return
        by = f"by policy {', '.join(decision.policies)}" if decision.policies else "as no policy permits it"
        raise PolicyDenied(
            f"{action} on {resource.type} {resource.id!r} is denied to {principal.name!r} {by}",
            policies=list(decision.policies),
            errors=list(decision.errors),
        )


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise InvalidInput("a reason is needed", field="reason")
