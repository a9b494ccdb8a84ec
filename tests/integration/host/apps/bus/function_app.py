"""Every Service Bus trigger and output binding, leaving a trace in the file that TRACE names."""

import asyncio
import json
import os
import threading
import time
from pathlib import Path
from typing import List  # noqa: UP035 - the library refuses list[...]

import azure.durable_functions as df
import azure.functions as func

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
BUS = "Bus"
TRACE = Path(os.environ["TRACE"])
writing = threading.Lock()


def trace(*words: object) -> int:
    """Add a line; how often this line is there by now."""
    line = " ".join(map(str, words))
    with writing:
        with TRACE.open("a") as file:
            file.write(line + "\n")
        return TRACE.read_text().splitlines().count(line)


def described(message: func.ServiceBusMessage) -> dict:
    """Everything that a message says of itself."""
    return {
        "body": message.get_body().hex(),
        **{name: getattr(message, name) for name in PROPERTIES},
    }


PROPERTIES = (
    *("application_properties", "content_type", "correlation_id", "dead_letter_error_description"),
    *("dead_letter_reason", "dead_letter_source", "delivery_count", "enqueued_sequence_number"),
    *("enqueued_time_utc", "expires_at_utc", "label", "locked_until", "lock_token", "message_id"),
    *("partition_key", "reply_to", "reply_to_session_id", "scheduled_enqueue_time_utc", "sequence_number"),
    *("session_id", "state", "subject", "time_to_live", "to", "transaction_partition_key"),
    *("user_properties",),
)


@app.service_bus_queue_trigger(arg_name="message", queue_name="told", connection=BUS)
def tell(message: func.ServiceBusMessage) -> None:
    trace("told", json.dumps(described(message), default=str))


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="told-bytes", connection=BUS, data_type=func.DataType.BINARY
)
def tell_bytes(message: func.ServiceBusMessage) -> None:
    trace("told-bytes", message.get_body().hex())


# -- topics


@app.service_bus_topic_trigger(
    arg_name="message", topic_name="news", subscription_name="readers", connection=BUS
)
def read_news(message: func.ServiceBusMessage) -> None:
    body = message.get_body().decode()
    trace("news", body, message.delivery_count)
    if body == "bad":
        raise RuntimeError("nobody wants to read this")


@app.service_bus_topic_trigger(
    arg_name="message", topic_name="news", subscription_name="readers/$DeadLetterQueue", connection=BUS
)
def bury_news(message: func.ServiceBusMessage) -> None:
    reason = message.application_properties["DeadLetterReason"]
    trace("buried", message.get_body().decode(), reason)


@app.service_bus_topic_trigger(
    arg_name="message", topic_name="news", subscription_name="archive", connection=BUS
)
def archive_news(message: str) -> None:
    trace("archived", message)


@app.route(methods=["GET"])
def connection(req: func.HttpRequest) -> str:
    return os.environ[BUS]


# -- sessions: what to do is in the body

at_once: dict[str, int] = {}
gates: dict[str, asyncio.Event] = {}


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="orders", connection=BUS, is_sessions_enabled=True
)
async def order(message: func.ServiceBusMessage) -> None:
    session, body = message.session_id, message.get_body().decode()
    at_once[session] = at_once.get(session, 0) + 1
    try:
        times = trace("order", session, body)
        trace("together", len(at_once), at_once[session])
        if body == "fail once" and times == 1:
            raise RuntimeError("not yet")
        if body == "crash once" and times == 1:
            os.kill(os.getpid(), 9)
        if body == "slow":
            await asyncio.sleep(3)  # longer than a lock of the session
        if body == "wait":
            await gates.setdefault(session, asyncio.Event()).wait()
        trace("ordered", session, body, message.delivery_count)
    finally:
        at_once[session] -= 1
        if not at_once[session]:
            del at_once[session]


@app.route(route="open/{session}", methods=["POST"])
async def open_gate(req: func.HttpRequest) -> str:
    gates.setdefault(req.route_params["session"], asyncio.Event()).set()
    return "open"


# -- batches


@app.service_bus_queue_trigger(
    arg_name="messages", queue_name="piles", connection=BUS, cardinality=func.Cardinality.MANY
)
def pile(messages: List[func.ServiceBusMessage]) -> None:  # noqa: UP006
    bodies = [message.get_body().decode() for message in messages]
    trace("pile", *bodies)
    trace("pile-told", json.dumps([described(message) for message in messages], default=str))
    if "fail once" in bodies and max(message.delivery_count for message in messages) == 1:
        raise RuntimeError("the whole pile comes back")
    if "crash once" in bodies and max(message.delivery_count for message in messages) == 1:
        os.kill(os.getpid(), 9)
    trace("piled", *[f"{body}:{each.delivery_count}" for body, each in zip(bodies, messages, strict=True)])


@app.service_bus_queue_trigger(
    arg_name="messages",
    queue_name="raw-piles",
    connection=BUS,
    cardinality="many",
    data_type=func.DataType.BINARY,
    max_message_batch_size=1,
)
def raw_pile(messages: List[func.ServiceBusMessage]) -> None:  # noqa: UP006
    trace("raw-pile", *[message.get_body().hex() for message in messages])


@app.service_bus_queue_trigger(
    arg_name="messages",
    queue_name="order-piles",
    connection=BUS,
    cardinality="many",
    is_sessions_enabled=True,
)
def order_pile(messages: List[func.ServiceBusMessage]) -> None:  # noqa: UP006
    sessions = {message.session_id for message in messages}
    bodies = [message.get_body().decode() for message in messages]
    trace("order-pile", *sorted(sessions), *bodies)
    if "fail once" in bodies and messages[0].delivery_count == 1:
        raise RuntimeError("the whole pile comes back")
    if "slow once" in bodies and messages[0].delivery_count == 1:
        time.sleep(3)  # longer than a lock of the session, which nobody renews
    trace("order-piled", *sorted(sessions), *bodies)


# -- outputs


@app.route(route="put/{kind}", methods=["POST"])
@app.service_bus_queue_output(arg_name="one", queue_name="put", connection=BUS)
@app.service_bus_topic_output(arg_name="other", topic_name="news", connection=BUS)
def put(req: func.HttpRequest, one: func.Out[str], other: func.Out[bytes]) -> func.HttpResponse:
    """What to put is in the body, how in the path."""
    given = req.get_body()
    match req.route_params["kind"]:
        case "text":
            one.set(given.decode())
        case "bytes":
            one.set(given)
        case "value":
            one.set(json.loads(given))
        case "both":
            one.set("to the queue")
            other.set(given)
        case "nothing":
            one.set(None)
    return func.HttpResponse("put", status_code=202)


@app.route(route="put-nowhere", methods=["POST"])
@app.service_bus_queue_output(arg_name="one", queue_name="no-such-queue", connection=BUS)
def put_nowhere(req: func.HttpRequest, one: func.Out[str]) -> str:
    one.set("lost")
    return "put"


@app.service_bus_queue_trigger(arg_name="message", queue_name="relay", connection=BUS)
@app.service_bus_queue_output(arg_name="$return", queue_name="put", connection=BUS)
def relay(message: func.ServiceBusMessage) -> str:
    """What is returned is sent before the message is completed."""
    body = message.get_body().decode()
    times = trace("relay", body)
    if body == "[broken":
        return "[broken]"
    if body == "crash once" and times == 1:
        os.kill(os.getpid(), 9)
    return f"{body}, relayed"


@app.service_bus_queue_trigger(arg_name="message", queue_name="misled", connection=BUS)
@app.service_bus_queue_output(arg_name="out", queue_name="orders", connection=BUS)
def mislead(message: func.ServiceBusMessage, out: func.Out[str]) -> None:
    trace("misled", message.delivery_count)
    if message.delivery_count < 3:
        out.set("a message without a session, for a queue that wants one")


@app.orchestration_trigger(context_name="context")
def relaying(context: df.DurableOrchestrationContext):
    return (yield context.call_activity("relay_result", context.get_input()))


@app.activity_trigger(input_name="given")
@app.service_bus_queue_output(arg_name="out", queue_name="put", connection=BUS)
def relay_result(given: str, out: func.Out[str]) -> str:
    out.set(f"{given}, by an activity")
    return f"{given}, returned"


@app.route(route="orchestrate/{given}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def orchestrate(req: func.HttpRequest, client: df.DurableFunctionsClient) -> str:
    instance_id = await client.schedule_new_orchestration("relaying", input=req.route_params["given"])
    state = await client.wait_for_orchestration_completion(instance_id, timeout=25)
    return str(state.serialized_output)


# -- retries (a DFApp has no decorator for them)

retried = func.Blueprint()


@retried.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *", run_on_startup=True)
@retried.service_bus_queue_output(arg_name="out", queue_name="put", connection=BUS)
@retried.retry(strategy="fixed_delay", max_retry_count="3", delay_interval="00:00:01")
def tick(timer: func.TimerRequest, out: func.Out[str], context: func.Context) -> None:
    retry = context.retry_context
    failed = retry.rpc_exception and retry.rpc_exception.message
    trace("tick", retry.retry_count, retry.max_retry_count, failed)
    if retry.retry_count < 2:
        raise RuntimeError(f"attempt {retry.retry_count} fails")
    out.set("by a timer")


@retried.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *", run_on_startup=True)
@retried.retry(
    strategy="exponential_backoff",
    max_retry_count="1",
    minimum_interval="00:00:00",
    maximum_interval="00:00:01",
)
def hopeless(timer: func.TimerRequest, context: func.Context) -> None:
    trace("hopeless", context.retry_context.retry_count)
    raise RuntimeError("always")


@retried.service_bus_queue_trigger(arg_name="message", queue_name="stubborn", connection=BUS)
@retried.retry(strategy="fixed_delay", max_retry_count="5", delay_interval="00:00:01")
def stubborn(message: func.ServiceBusMessage, context: func.Context) -> None:
    trace("stubborn", message.delivery_count, context.retry_context.retry_count)
    raise RuntimeError("always")


app.register_functions(retried)


# -- locks, and settling by oneself


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="kept", connection=BUS, auto_complete_messages=False
)
def keep(message: func.ServiceBusMessage) -> None:
    trace("kept", message.delivery_count)


# -- disabled: a trigger that this host does not have, and a setting that is not there


@app.queue_trigger(arg_name="message", queue_name="%NOT_SET%", connection="Elsewhere")
def elsewhere(message: func.QueueMessage) -> None: ...


@app.service_bus_queue_trigger(arg_name="message", queue_name="foreign", connection="Foreign")
def foreign(message: func.ServiceBusMessage) -> None: ...
