"""Messages as the SDK's own type, and functions that settle them."""

import json
import os
import time
from pathlib import Path
from typing import List  # noqa: UP035 - the library refuses list[...]

import azure.functions as func
from azurefunctions.extensions.bindings import servicebus

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
BUS = "Bus"
TRACE = Path(os.environ["TRACE"])


def trace(*words: object) -> None:
    with TRACE.open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


def described(message: servicebus.ServiceBusReceivedMessage) -> dict:
    names = (
        *("message_id", "session_id", "correlation_id", "subject", "delivery_count", "sequence_number"),
        *("enqueued_time_utc", "locked_until_utc", "lock_token", "application_properties"),
    )
    body = b"".join(message.body).hex()
    return {"body": body, **{name: str(getattr(message, name)) for name in names}}


@app.route(methods=["GET"])
def connection(req: func.HttpRequest) -> str:
    return os.environ[BUS]


@app.service_bus_queue_trigger(arg_name="message", queue_name="seen", connection=BUS)
@app.service_bus_queue_output(arg_name="out", queue_name="out", connection=BUS)
def see(message: servicebus.ServiceBusReceivedMessage, out: func.Out[str]) -> None:
    trace("seen", json.dumps(described(message)))
    if str(message) == "fail":
        raise LookupError("not to be seen")
    out.set(f"{message} was seen")


@app.service_bus_queue_trigger(arg_name="messages", queue_name="piles", connection=BUS, cardinality="many")
def pile(messages: List[servicebus.ServiceBusReceivedMessage]) -> None:  # noqa: UP006
    trace("pile", json.dumps([described(message) for message in messages]))


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="mine", connection=BUS, auto_complete_messages=False
)
def settle(
    message: servicebus.ServiceBusReceivedMessage, actions: servicebus.ServiceBusMessageActions
) -> None:
    """How is in the body."""
    body = str(message)
    trace("settle", body, message.delivery_count)
    match body:
        case "complete":
            actions.complete(message)
        case "complete and fail":
            actions.complete(message)
            raise RuntimeError("too late to bring it back")
        case "complete and stay":
            actions.complete(message)
            time.sleep(3)  # its lock would have to be renewed by now
        case "abandon":
            actions.abandon(message)
        case "defer":
            actions.defer(message)
        case "dead-letter":
            actions.deadletter(
                message, deadletter_reason="unfit", deadletter_error_description="it is not as it should be"
            )
        case "renew":
            actions.renew_message_lock(message)
            actions.complete(message)
        case "twice":
            actions.complete(message)
            try:
                actions.complete(message)
            except Exception as error:  # noqa: BLE001 - the extension does not show its own type
                trace("refused", type(error).__name__, "lock is lost" in str(error))
    trace("settled", body)


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="sessions", connection=BUS, is_sessions_enabled=True
)
async def keep_state(
    message: servicebus.ServiceBusReceivedMessage, actions: servicebus.ServiceBusMessageActions
) -> None:
    actions.set_session_state(message.session_id, message.body_type.name.encode())
    until = actions.renew_session_lock(message.session_id)
    actions.release_session(message.session_id)
    trace("session", message.session_id, message, until.seconds > time.time())
