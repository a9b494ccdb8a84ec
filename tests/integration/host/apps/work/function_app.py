"""Durable functions, Service Bus and timers, leaving a trace in the file that TRACE names."""

import asyncio
import json
import logging
import os
import time
from pathlib import Path

import azure.durable_functions as df
import azure.functions as func
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
from azurefunctions.extensions.http.fastapi import JSONResponse, Request
from durabletask.task import TaskFailedError

app = df.DFApp()
TRACE = Path(os.environ["TRACE"])
CONNECTION_WHILE_LOADING = os.environ["ServiceBusConnection"]  # noqa: SIM112 - the setting's usual name


def trace(*words: object) -> int:
    """Add a line; how often this line is there by now."""
    line = " ".join(map(str, words))
    with TRACE.open("a") as file:
        file.write(line + "\n")
    return TRACE.read_text().splitlines().count(line)


@app.route(route="start/{name}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start(req: Request, client: df.DurableFunctionsClient) -> JSONResponse:
    given = await req.json()
    instance_id = await client.schedule_new_orchestration(
        req.path_params["name"], input=given, instance_id=req.query_params.get("id")
    )
    return JSONResponse({"id": instance_id})


@app.route(route="result/{id}", methods=["GET"])
@app.generic_input_binding(arg_name="client", type="durableClient")
async def result(req: Request, client: str) -> JSONResponse:
    """The client is made from the binding's raw JSON."""
    durable = df.DurableFunctionsClient(client)
    try:
        state = await durable.wait_for_orchestration_completion(req.path_params["id"], timeout=25)
    finally:
        await durable.close()
    failure = state.failure_details
    return JSONResponse(
        {
            "status": state.runtime_status.name,
            "output": state.serialized_output,
            "failure": failure and [failure.error_type, failure.message],
        }
    )


@app.orchestration_trigger(context_name="context")
def chain(context: df.DurableOrchestrationContext):
    first = yield context.call_activity("add", [context.get_input(), 1])
    second = yield context.call_activity("add", [first, 1])
    return second


@app.orchestration_trigger(context_name="context", orchestration="renamed")
def named_otherwise(context: df.DurableOrchestrationContext):
    yield context.call_activity("logged", None)
    return "renamed"


@app.orchestration_trigger(context_name="context")
def calling(context: df.DurableOrchestrationContext):
    """Call the activity that the input names, and give back how it failed."""
    try:
        return (yield context.call_activity(context.get_input(), None))
    except TaskFailedError as error:
        return [error.details.error_type, error.details.message]


@app.orchestration_trigger(context_name="context")
def counting(context: df.DurableOrchestrationContext):
    key = context.get_input()
    for amount in (1, 2, 3):
        yield context.call_entity(df.EntityId("counter", key), "add", amount)
    return (yield context.call_entity(df.EntityId("counter", key), "get"))


@app.orchestration_trigger(context_name="context")
def crashing(context: df.DurableOrchestrationContext):
    return (yield context.call_activity("crash_once", context.instance_id))


@app.orchestration_trigger(context_name="context")
def pausing(context: df.DurableOrchestrationContext):
    yield context.call_activity("add", [1, 1])
    go = yield context.wait_for_external_event("go")
    more = yield context.call_activity("add", [go, 1])
    return more


@app.orchestration_trigger(context_name="context")
def stepping(context: df.DurableOrchestrationContext):
    """Tell each time that it is run from its beginning; the step of one number ends its worker."""
    count, crash = context.get_input()
    trace("begins", context.instance_id)
    total = 0
    for number in range(count):
        if number == crash:
            yield context.call_activity("crash_once", context.instance_id)
        total = yield context.call_activity("add", [total, number])
    return total


@app.orchestration_trigger(context_name="context")
def fickle(context: df.DurableOrchestrationContext):
    """Call another activity each time that it is run from its beginning."""
    odd = trace("fickle", context.instance_id) % 2
    return (yield context.call_activity("add" if odd else "logged", [1, 1]))


@app.route(route="raise/{id}/{name}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def raise_event(req: Request, client: df.DurableFunctionsClient) -> str:
    await client.raise_orchestration_event(
        req.path_params["id"], req.path_params["name"], data=await req.json()
    )
    return "raised"


@app.activity_trigger(input_name="pair")
def add(pair: list) -> int:
    return sum(pair)


@app.activity_trigger(input_name="ignored")
async def logged(ignored: str) -> str:
    logging.info("inside the activity")
    print("printed by the activity")
    return "logged"


class OrderError(Exception):
    """An exception of the app's own."""


@app.activity_trigger(input_name="ignored")
def refuse(ignored: str) -> str:
    raise OrderError("order 7 is closed:\nno more changes")


@app.activity_trigger(input_name="ignored")
async def refuse_silently(ignored: str) -> str:
    raise OrderError


@app.activity_trigger(input_name="ignored")
def unencodable(ignored: str) -> object:
    return object()


@app.activity_trigger(input_name="name")
def crash_once(name: str) -> int:
    """Takes the worker process down with it the first time."""
    times = trace("crash", name)
    if times == 1:
        os.kill(os.getpid(), 9)
    return times


@app.orchestration_trigger(context_name="context")
def spoiling(context: df.DurableOrchestrationContext):
    yield context.call_entity(df.EntityId("counter", "spoilt"), "spoil")


@app.entity_trigger(context_name="context")
def counter(context: df.DurableEntityContext):
    value = context.get_state(lambda: 0)
    if context.operation_name == "spoil":
        raise OrderError("a counter cannot be spoilt")
    if context.operation_name == "add":
        value += context.get_input()
        context.set_state(value)
    context.set_result(value)


@app.route(route="send/{queue}", methods=["POST"])
async def send(req: Request) -> str:
    message = ServiceBusMessage(
        await req.body(),
        message_id=req.query_params["id"],
        application_properties={"tenant": "t1", "attempt": 2},
        correlation_id="corr",
        subject="greeting",
    )
    async with (
        ServiceBusClient.from_connection_string(CONNECTION_WHILE_LOADING) as client,
        client.get_queue_sender(req.path_params["queue"]) as sender,
    ):
        await sender.send_messages(message)
    return "sent"


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="%JOBS_QUEUE%", connection="ServiceBusConnection"
)
async def job(message: func.ServiceBusMessage) -> None:
    """What to do is in the body."""
    body = message.get_body().decode()
    times = trace("job", message.message_id, body)
    if body == "fail":
        raise RuntimeError("this job always fails")
    if body == "fail once" and times == 1:
        raise RuntimeError("not yet")
    if body == "crash once" and times == 1:
        os.kill(os.getpid(), 9)
    if body == "wait once" and times == 1:
        await asyncio.sleep(600)
    if body == "slow":
        await asyncio.sleep(2.5)  # longer than two locks: only renewal keeps the message
    trace("done", message.message_id, message.delivery_count, json.dumps(message.application_properties))


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="%JOBS_QUEUE%/$DeadLetterQueue", connection="ServiceBusConnection"
)
def dead_job(message: func.ServiceBusMessage) -> None:
    trace("dead", message.message_id, message.application_properties["DeadLetterReason"])


@app.service_bus_queue_trigger(arg_name="text", queue_name="tokens", connection="OtherConnection")
def token(text: str) -> None:
    trace("token", text, os.environ["OtherConnection"] == CONNECTION_WHILE_LOADING)  # noqa: SIM112


@app.timer_trigger(arg_name="timer", schedule="%TICK%")
def tick(timer: func.TimerRequest) -> None:
    trace("tick", timer.past_due)


@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *", run_on_startup=True)
def at_start(timer: func.TimerRequest) -> None:
    trace("at_start", timer.past_due)


@app.timer_trigger(arg_name="timer", schedule="0 0 3 * * *")
def nightly(timer: func.TimerRequest) -> None:
    trace("nightly", timer.past_due, timer.schedule_status["Last"])


running: list[str] = []


@app.timer_trigger(arg_name="timer", schedule="* * * * * *")
def slow_tick(timer: func.TimerRequest) -> None:
    running.append("slow_tick")
    trace("slow_tick", len(running))
    time.sleep(1.2)
    running.pop()
