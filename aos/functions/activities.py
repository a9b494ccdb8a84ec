"""The activity functions: what orchestrators have read and written for them."""

from __future__ import annotations

import asyncio
from typing import Any, Dict  # noqa: UP035

import azure.durable_functions as df
from opentelemetry.trace import SpanKind

from aos.functions.process import system
from aos.kernel.errors import InvalidExpression, NotFound
from aos.kernel.governance.audit.records import Fact, FactType
from aos.kernel.messaging.step_message import AGENT_STEPS, StepMessage
from aos.kernel.reasons import excerpt, short
from aos.kernel.scheduling.budget import usd
from aos.kernel.workflows.engine import ENGINE
from aos.kernel.workflows.plan import compile_plan, plan_to_json
from aos.services.environment.clock import timestamp
from aos.services.observability.metrics import RUNS_ENDED
from aos.services.observability.tracing import Attributes, fail, span, taken_up
from aos.services.runs.approvals import Asked
from aos.services.runs.run import Run, RunStatus
from aos.services.steps.preparation import Progress

Json = Dict[str, Any]  # noqa: UP006 - the Functions indexer takes this form, not dict[...]

blueprint = df.Blueprint()
TENANT_BUDGET = "all"
"""The scope of the budget that all runs of a tenant share."""


@blueprint.activity_trigger(input_name="work")
async def begin_run(work: Json) -> Json:
    """Read the run that is to be begun: its plan, its budgets, and the facts so far."""
    aos, run_id = system(), str(work["run"])
    try:
        run = await aos.runs.get(run_id)
    except NotFound:  # its acceptance broke off before its row was written: nobody was told of it
        await aos.doorbells.answered(run_id, "start")
        return {"ended": True}
    if run.ended:
        await aos.doorbells.answered(run_id, "start")
        return {"ended": True}
    definition = await aos.definitions.snapshot(run.workflow, run.definition)
    fact = await aos.facts.write(
        run_id,
        "run.started",
        FactType.RUN_STARTED,
        actor=run.created_by,
        subject={"workflow": run.workflow, "definition": run.definition},
        payload={
            "input": await aos.values.load(run_id, dict(run.input)),
            "definition": definition.to_json(),
            "budget_micro_usd": run.budget_micro_usd,
            "engine": ENGINE,
            "accepted_at": timestamp(run.created_at),
        },
    )
    await aos.runs.update(run_id, lambda now: now if now.ended else now.changed(status=RunStatus.RUNNING))
    await aos.doorbells.answered(run_id, "start")
    return {
        "ended": False,
        "tenant": run.tenant,
        "plan": plan_to_json(compile_plan(definition)),
        "budgets": _budgets(run, aos.settings.tenant_budget_usd),
        "facts": [fact],
    }


def _budgets(run: Run, tenant_limit_usd: float | None) -> list[Json]:
    """Return the budgets that a step of the run reserves with, the narrowest first."""
    budgets = []
    if run.budget_micro_usd is not None:
        budgets.append({"key": f"{run.tenant}.run-{run.id}", "limit": run.budget_micro_usd})
    if tenant_limit_usd is not None:
        budgets.append({"key": f"{run.tenant}.{TENANT_BUDGET}", "limit": round(tenant_limit_usd * 1_000_000)})
    return budgets


@blueprint.activity_trigger(input_name="work")
async def prepare_step(work: Json) -> Json:
    """Prepare one attempt of a step."""
    if work["attempt"] > 1:
        # An operator's word may have asked for this attempt; the effects' rows are read by its claims.
        await system().doorbells.answered(work["run"], "resolution", work["step"])
    preparation = await system().preparer.prepare(
        work["run"],
        work["step"],
        work["attempt"],
        Progress(**work["progress"]),
        compensation=work["compensation"],
    )
    return preparation.to_json()


@blueprint.activity_trigger(input_name="message")
async def dispatch_step(message: Json) -> None:
    """Send the step to its queue."""
    aos, step = system(), StepMessage.from_json(message)
    run = await aos.runs.get(step.run)
    attributes: Attributes = {
        "messaging.system": "servicebus",
        "messaging.operation.name": "send",
        "messaging.destination.name": AGENT_STEPS,
        "aos.run": step.run,
        "aos.step": step.label,
        "aos.attempt": step.attempt,
    }
    with span(f"send {AGENT_STEPS}", attributes, kind=SpanKind.PRODUCER, parent=taken_up(run.trace)):
        await aos.queue.send(step)


@blueprint.activity_trigger(input_name="message")
async def read_result(message: Json) -> Json | None:
    """Return how the attempt ended, without its output, or None."""
    step = StepMessage.from_json(message)
    result = await system().steps.result(step.run, step.label, step.attempt)
    if result is None:
        return None
    return {
        "result": result.result,
        "reason": result.reason,
        "retryable": result.retryable,
        "effects": result.effects,
        "in_doubt": result.in_doubt,
        "cost_micro_usd": result.cost_micro_usd,
        "input_tokens": result.input_tokens,
        "output_tokens": result.output_tokens,
        "facts": list(result.facts),
    }


@blueprint.activity_trigger(input_name="message")
async def expire_step(message: Json) -> float | None:
    """End a step whose time is over; return when to come back if an effect may still be under way."""
    step = StepMessage.from_json(message)
    return await system().worker.conclude(step, "the step did not end in time", retryable=True)


@blueprint.activity_trigger(input_name="work")
async def close_step(work: Json) -> float | None:
    """End an attempt that does not begin; return when to come back if an effect may still be under way."""
    step = StepMessage.from_json(work["message"])
    return await system().worker.conclude(step, work["reason"], retryable=False)


@blueprint.activity_trigger(input_name="work")
async def settle_approval(work: Json) -> Json:
    """Read an approval, after closing it if that is asked."""
    aos, run, step = system(), str(work["run"]), str(work["step"])
    if work["close"]:
        asked = await aos.approvals.close(run, step, work["close"])
    else:
        asked = await aos.approvals.get(run, step)
    approval = asked.approval
    if approval.state.value != "requested":  # else the bell's row is still on its way
        await aos.doorbells.answered(run, "approval", step)
    return {
        "status": approval.state.value,
        "actor": approval.actor,
        "reason": approval.reason,
        "facts": await _settled(asked, run),
    }


async def _settled(asked: Asked, run: str) -> list[str]:
    """Write down what somebody decided."""
    approval = asked.approval
    if approval.state.value not in ("approved", "rejected"):
        return []
    fact = await system().facts.write(
        run,
        asked.fact("decided"),
        FactType.APPROVAL_DECIDED,
        actor=approval.actor or "aos",
        subject={"step": asked.step, "action_hash": approval.action_hash},
        payload={"approved": approval.state.value == "approved", "reason": approval.reason},
    )
    return [fact]


@blueprint.activity_trigger(input_name="work")
async def read_cancel(work: Json) -> Json:
    """Read whether the run was asked to stop."""
    aos, run_id = system(), str(work["run"])
    cancel = (await aos.runs.get(run_id)).cancel
    if cancel is None:  # the bell's row is still on its way
        return {"requested": False, "actor": None, "reason": None, "facts": []}
    await aos.doorbells.answered(run_id, "cancel")
    fact = await aos.facts.write(
        run_id,
        "cancel",
        FactType.RUN_CANCEL_REQUESTED,
        actor=cancel["actor"],
        subject={},
        payload={"reason": cancel["reason"]},
    )
    return {"requested": True, "actor": cancel["actor"], "reason": cancel["reason"], "facts": [fact]}


@blueprint.activity_trigger(input_name="work")
async def evaluate_output(work: Json) -> str | None:
    """Evaluate the run's output and keep it; return why it cannot be evaluated."""
    aos, run_id = system(), str(work["run"])
    try:
        output = await aos.preparer.evaluate_output(run_id, Progress(**work["progress"]))
    except InvalidExpression as error:
        return excerpt(error.message)
    kept = await aos.values.keep(run_id, output)
    await aos.runs.update(run_id, lambda run: run if run.ended else run.changed(output=kept))
    return None


@blueprint.activity_trigger(input_name="work")
async def append_facts(work: Json) -> int:
    """Put facts into the run's log; return its size in records."""
    run = str(work["run"])
    return await system().log.append(run, work["expected_size"], await _facts(run, work["facts"]))


@blueprint.activity_trigger(input_name="work")
async def end_run(work: Json) -> None:
    """Complete the log with all that is not in it yet, sign it, and write down that the run ended."""
    aos, run_id = system(), str(work["run"])
    run = await aos.runs.get(run_id)
    records = await aos.log.read(run_id)
    if not records or records[-1].leaf.type != FactType.RUN_ENDED:
        await _close_approvals(run_id)
        given = await _facts(run_id, work["facts"]) + await aos.facts.all(run_id)
        logged = {record.leaf.id for record in records}
        facts = {
            fact.id: fact for fact in given if fact.id not in logged
        }  # the first of each id keeps its place
        await aos.log.append(run_id, len(records), [*facts.values(), await _ended(run, work)])
    await aos.log.checkpoint(run_id)
    await aos.runs.update(
        run_id,
        lambda current: current.changed(
            status=RunStatus(work["status"]),
            reason=short(work["reason"]),
            ended_at=current.ended_at or aos.clock(),
            cost_micro_usd=work["cost_micro_usd"],
            input_tokens=work["input_tokens"],
            output_tokens=work["output_tokens"],
        ),
    )
    await aos.doorbells.answered_all(run_id)
    RUNS_ENDED.add(1, {"status": work["status"], "workflow": run.workflow})
    attributes = {"aos.run": run_id, "aos.workflow": run.workflow, "aos.status": work["status"]}
    with span(f"end_run {run.workflow}", attributes, parent=taken_up(run.trace)) as current:
        if work["status"] == "failed":
            fail(current, "failed")


async def _ended(run: Run, work: Json) -> Fact:
    aos = system()
    output = await aos.values.load(run.id, dict(run.output)) if run.output else None
    return await aos.facts.make(
        run.id,
        "run.ended",
        FactType.RUN_ENDED,
        actor="aos",
        subject={},
        payload={
            "status": work["status"],
            "reason": short(work["reason"]),
            "cost_usd": usd(work["cost_micro_usd"]),
            "input_tokens": work["input_tokens"],
            "output_tokens": work["output_tokens"],
            "output": output if work["status"] == "completed" else None,
        },
    )


async def _close_approvals(run: str) -> None:
    """Withdraw what nobody decided, and see that each decision has its fact before the log is closed."""
    for asked in await system().approvals.all(run):
        await _settled(await system().approvals.close(run, asked.step, "withdrawn"), run)


async def _facts(run: str, given: list[Json]) -> list[Fact]:
    return list(await asyncio.gather(*(_fact(run, item) for item in given)))


async def _fact(run: str, item: Json) -> Fact:
    if "fact" in item:
        return Fact.from_json(item["fact"])
    fact = await system().facts.read(run, item["row"])
    assert fact is not None, f"fact {item['row']} of run {run} was never written"
    return fact
