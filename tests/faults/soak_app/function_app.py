"""The app of the soak: every kind of durable work, each with what tells afterwards that it went right.

Activities write each execution into the ledger with its input and a token of its own, and give the
token back: what a later step was given shows whose result the hub kept. Entities keep the ids of all
operations that they carried out, and how often. A charge must not happen twice, however often its activity
runs: AOS's effect ledger guards it.
"""

import asyncio
import json
import os
import random
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any, List  # noqa: UP035 - the library refuses list[...]

import azure.durable_functions as df
import azure.functions as func
import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
from azurefunctions.extensions.http.fastapi import JSONResponse, Request
from durabletask import task
from durabletask.entities import EntityContext, EntityInstanceId
from soak_effects import GuardedEffects
from soak_ledger import Ledger

app = df.DFApp()
ledger = Ledger(os.environ["SOAK_LEDGER"])
effects = GuardedEffects(Path(os.environ["SOAK_EFFECTS"]), ledger)
Context = task.OrchestrationContext
BUS = "ServiceBusConnection"
LONGEST_S = 0.5  # what takes a while may be struck in the middle
NEVER_AGAIN = pb.OrchestrationIdReusePolicy()

# -- from outside


async def start_once(client: df.DurableFunctionsClient, name: str, given: Any, instance_id: str) -> None:
    """Start; a start that was accepted before, its answer lost, is as good."""
    try:
        await client.schedule_new_orchestration(
            name, input=given, instance_id=instance_id, reuse_id_policy=NEVER_AGAIN
        )
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
            raise


@app.route(route="start/{name}/{id}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start(req: Request, client: df.DurableFunctionsClient) -> JSONResponse:
    await start_once(client, req.path_params["name"], await req.json(), req.path_params["id"])
    return JSONResponse({})


@app.route(route="event/{id}/{name}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def event(req: Request, client: df.DurableFunctionsClient) -> JSONResponse:
    given = await req.json()
    await client.raise_orchestration_event(req.path_params["id"], req.path_params["name"], data=given)
    return JSONResponse({})


@app.route(route="signal/{entity}/{key}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def signal(req: Request, client: df.DurableFunctionsClient) -> JSONResponse:
    entity = EntityInstanceId(req.path_params["entity"], req.path_params["key"])
    await client.signal_entity(entity, "add", await req.json())
    return JSONResponse({})


@app.service_bus_queue_trigger(arg_name="message", queue_name="jobs", connection=BUS)
@app.durable_client_input(client_name="client")
async def job(message: func.ServiceBusMessage, client: df.DurableFunctionsClient) -> None:
    """Start an orchestration or signal an entity, as the message says; some fail at their first delivery."""
    wanted = json.loads(message.get_body())
    ledger.delivery("jobs", message, "taken")
    if wanted.get("fails_first") and message.delivery_count == 1:
        raise RuntimeError("not at the first delivery")
    if wanted["do"] == "start":
        await start_once(client, wanted["name"], wanted["input"], message.message_id)
    else:
        operation = f"{message.message_id}/{uuid.uuid4().hex}"
        ledger.intend(f"@counter@{wanted['key']}", operation)
        await client.signal_entity(EntityInstanceId("counter", wanted["key"]), "add", operation)
        ledger.acknowledged(operation)
    ledger.delivery("jobs", message, "handled")
    await asyncio.sleep(random.random() * LONGEST_S)


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="tickets", connection=BUS, is_sessions_enabled=True
)
async def ticket(message: func.ServiceBusMessage) -> None:
    """A message of a session; some fail at their first delivery."""
    ledger.delivery("tickets", message, "taken")
    await asyncio.sleep(random.random() * LONGEST_S)
    if json.loads(message.get_body())["fails_first"] and message.delivery_count == 1:
        raise RuntimeError("not at the first delivery")
    ledger.delivery("tickets", message, "handled")


@app.service_bus_topic_trigger(
    arg_name="message", topic_name="news", subscription_name="feed", connection=BUS
)
@app.service_bus_queue_output(arg_name="$return", queue_name="piles", connection=BUS)
def feed(message: func.ServiceBusMessage) -> str:
    """What comes to the subscription goes on by an output, again when it comes again."""
    ledger.delivery("news/feed", message, "taken")
    ledger.delivery("news/feed", message, "handled")
    return str(message.message_id)


@app.service_bus_queue_trigger(arg_name="messages", queue_name="piles", connection=BUS, cardinality="many")
async def pile(messages: List[func.ServiceBusMessage]) -> None:  # noqa: UP006
    for event in ("taken", "handled"):
        for message in messages:
            ledger.delivery("piles", message, event, name=message.get_body().decode())
        await asyncio.sleep(random.random() * LONGEST_S)


@app.service_bus_queue_trigger(arg_name="message", queue_name="poison", connection=BUS)
def poison(message: func.ServiceBusMessage) -> None:
    ledger.delivery("poison", message, "taken")
    raise RuntimeError("this message cannot be handled")


@app.timer_trigger(arg_name="timer", schedule="*/2 * * * * *")
@app.durable_client_input(client_name="client")
async def tick(timer: func.TimerRequest, client: df.DurableFunctionsClient) -> None:
    operation = f"tick/{uuid.uuid4().hex}"
    ledger.intend("@counter@ticks", operation)
    await client.signal_entity(EntityInstanceId("counter", "ticks"), "add", operation)
    ledger.acknowledged(operation)


# -- entities


def carried_out(state: dict[str, Any], operation: str) -> None:
    """Count an operation; one that is counted twice is what the soak is looking for."""
    operations = state.setdefault("operations", {})
    operations[operation] = operations.get(operation, 0) + 1


@app.entity_trigger(context_name="context", entity_name="counter")
def counter(context: EntityContext, operation: str | None = None) -> int:
    """`add` counts an operation by its id; `relay` has the entity named in it count it too."""
    state = context.get_state(dict, {})
    if context.operation == "add":
        carried_out(state, operation)
    elif context.operation == "relay":
        carried_out(state, operation)
        target = EntityInstanceId("counter", f"{context.entity_id.key}-relayed")
        context.signal_entity(target, "add", operation)
    context.set_state(state)
    return sum(state.get("operations", {}).values())


@app.entity_trigger(context_name="context", entity_name="account")
def account(context: EntityContext, given: list[Any] | None = None) -> int:
    """`move` changes the balance by an amount, for an operation; `get` looks."""
    state = context.get_state(dict, {"balance": 0})
    if context.operation == "move":
        operation, amount = given
        carried_out(state, operation)
        state["balance"] += amount
        context.set_state(state)
    return state["balance"]


# -- activities


@app.activity_trigger(input_name="given")
def step(given: dict) -> str:
    """One execution of a step, which takes a while: its token."""
    token = ledger.attempt(given["effect"], given["after"])
    time.sleep(random.random() * LONGEST_S)
    return token


@app.activity_trigger(input_name="effect")
async def charge(effect: str) -> str:
    """What must not happen twice: its receipt."""
    ledger.attempt(effect)
    return await effects.happen(effect)


@app.activity_trigger(input_name="number")
async def double(number: int) -> int:
    return number * 2


# -- orchestrations


@app.orchestration_trigger(context_name="context")
def chain(context: Context, steps: int):
    tokens: list[str] = []
    for number in range(steps):
        given = {"effect": f"{context.instance_id}/{number}", "after": tokens[-1] if tokens else None}
        tokens.append((yield context.call_activity("step", input=given)))
    receipt = yield context.call_activity("charge", input=f"{context.instance_id}/charge")
    return {"tokens": tokens, "receipt": receipt}


@app.orchestration_trigger(context_name="context")
def fan(context: Context, width: int):
    return sum((yield task.when_all([context.call_activity("double", input=each) for each in range(width)])))


@app.orchestration_trigger(context_name="context")
def family(context: Context, steps: int):
    """Three chains as sub-orchestrations."""
    children = [
        context.call_sub_orchestrator("chain", input=steps, instance_id=f"{context.instance_id}.{each}")
        for each in range(3)
    ]
    return [len(child["tokens"]) for child in (yield task.when_all(children))]


@app.orchestration_trigger(context_name="context")
def outsourced(context: Context, steps: int):
    """An activity and a sub-orchestration of a worker outside of the host."""
    given = {"effect": f"{context.instance_id}/0", "after": None}
    token = yield context.call_activity("distant_step", input=given)
    child = f"{context.instance_id}.distant"
    return [token, *(yield context.call_sub_orchestrator("distant", input=steps, instance_id=child))]


@app.orchestration_trigger(context_name="context")
def counts(context: Context, given: dict[str, Any]):
    """Calls, signals and relayed signals of a counter."""
    entity = EntityInstanceId("counter", given["key"])
    for number in range(given["times"]):
        yield context.call_entity(entity, "add", f"{context.instance_id}/call/{number}")
        context.signal_entity(entity, "add", f"{context.instance_id}/signal/{number}")
        context.signal_entity(entity, "relay", f"{context.instance_id}/relay/{number}")
    return given["times"]


@app.orchestration_trigger(context_name="context")
def transfer(context: Context, given: dict[str, Any]):
    """Move money in a critical section over two accounts; fails when another gets in between."""
    source, target = (EntityInstanceId("account", given[end]) for end in ("source", "target"))
    with (yield context.lock_entities([source, target])):
        before = yield context.call_entity(source, "get")
        yield context.call_entity(source, "move", [f"{context.instance_id}/out", -given["amount"]])
        yield context.call_activity("charge", input=f"{context.instance_id}/fee")
        after = yield context.call_entity(source, "get")
        if after != before - given["amount"]:
            raise RuntimeError(f"another got in between: {before}, then {after}")
        yield context.call_entity(target, "move", [f"{context.instance_id}/in", given["amount"]])
    return "moved"


@app.orchestration_trigger(context_name="context")
def deposit(context: Context, given: dict[str, Any]):
    """Money from outside, without a lock: it must wait while another holds one."""
    entity = EntityInstanceId("account", given["account"])
    context.signal_entity(entity, "move", [f"{context.instance_id}/signal", given["amount"]])
    yield context.call_entity(entity, "move", [f"{context.instance_id}/call", given["amount"]])
    return "paid in"


@app.orchestration_trigger(context_name="context")
def patience(context: Context, seconds: float):
    """A race of a timer and an event that may come, then another timer."""
    event = context.wait_for_external_event("hurry")
    timer = context.create_timer(timedelta(seconds=seconds))
    winner = yield task.when_any([event, timer])
    if winner is event:
        timer.cancel()
    yield context.create_timer(timedelta(milliseconds=100))
    return "done"


@app.orchestration_trigger(context_name="context")
def collector(context: Context, given: dict[str, Any]):
    """Collect so many different events, one a generation: events wait through continue_as_new."""
    item = yield context.wait_for_external_event("item")
    seen = [*given["seen"], item]
    if len({each["number"] for each in seen}) < given["wanted"]:
        context.continue_as_new({"wanted": given["wanted"], "seen": seen}, save_events=True)
        return None
    return seen


@app.orchestration_trigger(context_name="context")
def renewing(context: Context, given: dict[str, Any]):
    """Generations that each call an activity and an entity, and set a timer."""
    generation = given["generation"]
    token = yield context.call_activity(
        "step", input={"effect": f"{context.instance_id}/{generation}", "after": given["after"]}
    )
    yield context.call_entity(
        EntityInstanceId("counter", given["key"]), "add", f"{context.instance_id}/generation/{generation}"
    )
    yield context.create_timer(timedelta(milliseconds=50))
    if generation + 1 < given["generations"]:
        context.continue_as_new({**given, "generation": generation + 1, "after": token})
        return None
    return generation + 1
