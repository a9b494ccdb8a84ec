"""Durable functions in the forms of version 1 and 2; the activities and entities are in steps.py."""

import asyncio
import json
import os
from datetime import timedelta
from pathlib import Path

import azure.durable_functions as df
import azure.functions as func
from durabletask.task import TaskFailedError
from payloads import FolderStore
from steps import Parcel, steps

app = df.DFApp(http_auth_level=func.AuthLevel.FUNCTION)
app.register_functions(steps)
app.configure_scheduled_tasks()


class FolderWriter:
    """Where exported histories go."""

    def write(self, *, instance_id, container, blob_name, payload, content_type, content_encoding, metadata):
        folder = Path(os.environ["EXPORTS"]) / container
        folder.mkdir(parents=True, exist_ok=True)
        (folder / blob_name.replace("/", "_")).write_bytes(payload)


app.configure_history_export(FolderWriter())
app.configure_large_payloads(payload_store=FolderStore(Path(os.environ["PAYLOADS"])))


# -- the durable client in its forms


@app.route(route="begin/{name}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def begin(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    given = json.loads(req.get_body() or b"null")
    instance_id = await client.schedule_new_orchestration(req.route_params["name"], input=given)
    return client.create_check_status_response(req, instance_id, "failed_is_500" in req.params)


@app.route(route="v1/{name}", methods=["POST"])
@app.durable_client_input(client_name="starter")
async def v1_start(req: func.HttpRequest, starter: df.DurableOrchestrationClient) -> func.HttpResponse:
    instance_id = await starter.start_new(req.route_params["name"], None, req.get_json())
    return await starter.wait_for_completion_or_create_check_status_response(
        req, instance_id, int(req.params.get("timeout_ms", "30000")), 1
    )


@app.route(route="sync/{name}", methods=["POST"])
@app.durable_client_input(client_name="client")
def sync_start(req: func.HttpRequest, client: df.SyncDurableFunctionsClient) -> func.HttpResponse:
    instance_id = client.schedule_new_orchestration(req.route_params["name"], input=req.get_json())
    state = client.wait_for_orchestration_completion(instance_id, timeout=30)
    links = client.create_http_management_payload(instance_id)
    answer = {"output": state.get_output(), "links": links}
    return func.HttpResponse(json.dumps(answer), mimetype="application/json")


@app.route(route="raw", methods=["GET"])
@app.generic_input_binding(arg_name="client", type="durableClient")
def raw(req: func.HttpRequest, client: str) -> str:
    return client


@app.route(route="raw/{name}", methods=["POST"])
@app.generic_input_binding(arg_name="client", type="durableClient")
async def raw_start(req: func.HttpRequest, client: str) -> str:
    """A client of one's own, made from the configuration."""
    durable = df.DurableOrchestrationClient(client)
    try:
        instance_id = await durable.start_new(req.route_params["name"], client_input=req.get_json())
        return (await durable.wait_for_orchestration_completion(instance_id, timeout=30)).serialized_output
    finally:
        await durable.close()


# -- orchestrators of version 1


@app.orchestration_trigger(context_name="context")
def everything(context: df.DurableOrchestrationContext):
    """Each call of the context once; what came of it, by name."""
    started = context.current_utc_datetime
    retry = df.RetryOptions(first_retry_interval_in_milliseconds=10, max_number_of_attempts=3)
    context.set_custom_status({"step": "begun"})
    found = {"input": context.get_input(), "version": context.version, "parent": context.parent_instance_id}
    found["activity"] = yield context.call_activity("double", 21)
    found["retried"] = yield context.call_activity_with_retry("fails_twice", retry, context.instance_id)
    found["child"] = yield context.call_sub_orchestrator("child", "a", f"{context.instance_id}-child")
    fails_once = context.call_sub_orchestrator_with_retry("child_fails_once", retry, context.instance_id)
    found["child_retried"] = yield fails_once
    found["all"] = yield context.task_all([context.call_activity("double", each) for each in (1, 2, 3)])
    entity = df.EntityId("counter", context.instance_id)
    context.signal_entity(entity, "add", 40)
    found["entity"] = yield context.call_entity(entity, "add", 2)
    timer = context.create_timer(started + timedelta(milliseconds=1))
    never = context.create_timer(started + timedelta(hours=1))
    first = yield context.task_any([timer, never])
    found["first"] = "timer" if first is timer else "never"
    never.cancel()
    found["uuids_differ"] = context.new_uuid() != str(context.new_guid())
    found["time_goes_on"] = context.current_utc_datetime >= started
    found["not_replaying"] = not context.is_replaying
    context.set_custom_status({"step": "ended"})
    return found


@app.orchestration_trigger(context_name="context")
def child(context: df.DurableOrchestrationContext):
    return [context.get_input(), context.instance_id, context.parent_instance_id, context.version]


@app.orchestration_trigger(context_name="context")
def child_fails_once(context: df.DurableOrchestrationContext):
    times = yield context.call_activity("count", f"child {context.get_input()}")
    if times == 1:
        raise ValueError("not yet")
    return times


@app.orchestration_trigger(context_name="context")
def approval(context: df.DurableOrchestrationContext):
    """An event or a time limit, whichever comes first."""
    deadline = context.create_timer(context.current_utc_datetime + timedelta(hours=1))
    event = context.wait_for_external_event("approval")
    context.set_custom_status("waiting")
    winner = yield context.task_any([event, deadline])
    if winner is event:
        deadline.cancel()
        return {"approved": event.result}
    return {"approved": None}


@app.orchestration_trigger(context_name="context")
def counting_down(context: df.DurableOrchestrationContext):
    left = context.get_input()
    yield context.call_activity("double", left)
    if left > 0:
        context.continue_as_new(left - 1)
        return None
    return "done"


@app.orchestration_trigger(context_name="context")
def failing(context: df.DurableOrchestrationContext):
    """Fails as long as the file is there that the input names."""
    yield context.call_activity("double", 1)
    return (yield context.call_activity("fails_while_there", context.get_input()))


@app.orchestration_trigger(context_name="context", input_type=Parcel)
def typed(context: df.DurableOrchestrationContext):
    parcel = context.get_input()
    heavier = yield context.call_activity("load", parcel)
    return [type(parcel).__name__, parcel.weight, heavier.weight]


@app.orchestration_trigger(context_name="context")
def calling_http(context: df.DurableOrchestrationContext):
    given = context.get_input()
    call = context.call_http(given["method"], given["url"], given.get("content"), given.get("headers"))
    answer = yield call
    return [answer.status_code, answer.content, answer.headers.get("X-Polls")]


@app.orchestration_trigger(context_name="context")
def large(context: df.DurableOrchestrationContext):
    text = yield context.call_activity("repeat", context.get_input())
    return text


# -- orchestrators as the durabletask SDK has them


@app.orchestration_trigger(context_name="context")
def native(ctx, given):
    """Locks, calls between entities, events between orchestrations, durations as timers."""
    first, second = (
        df.EntityId("account", f"{ctx.instance_id}-1"),
        df.EntityId("account", f"{ctx.instance_id}-2"),
    )
    ctx.set_custom_status("native")
    yield ctx.call_entity(first, "deposit", given)
    with (yield ctx.lock_entities([first, second])):
        yield ctx.call_entity(first, "withdraw", 30)
        balance = yield ctx.call_entity(second, "deposit", 30)
    rest = yield ctx.call_entity(first, "balance")
    yield ctx.create_timer(timedelta(milliseconds=1))
    doubled = yield ctx.call_activity("native_double", input=rest)
    waiting = ctx.call_sub_orchestrator("native_waiting", instance_id=f"{ctx.instance_id}-waiting")
    ctx.send_event(f"{ctx.instance_id}-waiting", "hello", data="from the parent")
    heard = yield waiting
    try:
        yield ctx.call_activity("double", input="not a number at all", retry_policy=None)
    except TaskFailedError as error:
        failure = error.details.error_type
    return [balance, rest, doubled, heard, failure, ctx.version]


@app.orchestration_trigger(context_name="context")
def native_waiting(ctx, _):
    return (yield ctx.wait_for_external_event("hello"))


@app.orchestration_trigger(context_name="context")
def noted(ctx, note):
    """Started by an entity."""
    return [note, ctx.version]


# -- HTTP that the durable calls go to


@app.route(route="slow/{id}", methods=["GET", "POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def slow(req: func.HttpRequest) -> func.HttpResponse:
    """202 twice, then the answer."""
    polls = Path(os.environ["POLLS"]) / req.route_params["id"]
    polls.parent.mkdir(exist_ok=True)
    times = len(polls.read_text()) if polls.exists() else 0
    polls.write_text("." * (times + 1))
    if times < 2:
        return func.HttpResponse(status_code=202, headers={"Location": f"/api/slow/{req.route_params['id']}"})
    await asyncio.sleep(0)
    return func.HttpResponse(f"after {times}", headers={"X-Polls": str(times)})


@app.route(route="echo", methods=["POST"])
def echo(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(req.get_body(), status_code=418, mimetype="application/json")


@app.route(route="admin_only", methods=["GET"], auth_level=func.AuthLevel.ADMIN)
def admin_only(req: func.HttpRequest) -> str:
    return "for the master key"


@app.route(route="open", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def open_to_all(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("open", headers={"Access-Control-Allow-Origin": "set by the app"})


# -- run by hand


def leave(line: str) -> None:
    with Path(os.environ["TRACE"]).open("a") as file:
        file.write(line + "\n")


@app.timer_trigger(arg_name="timer", schedule="0 0 3 1 1 *")
def yearly(timer: func.TimerRequest) -> None:
    leave(f"yearly {timer.past_due} {timer.schedule_status['Next']} {timer.schedule['AdjustForDST']}")


@app.timer_trigger(arg_name="timer", schedule="12:00:00", use_monitor=False)
def unmonitored(timer: func.TimerRequest) -> None:
    leave(f"unmonitored {timer.schedule_status} {timer.schedule['AdjustForDST']}")


@app.service_bus_queue_trigger(arg_name="message", queue_name="by-hand", connection="ServiceBusConnection")
def on_message(message: func.ServiceBusMessage) -> None:
    leave(f"message {message.get_body().decode()}")
