"""Functions that tell which worker ran them, block it, or end it."""

import asyncio
import os
import time
from pathlib import Path

import azure.durable_functions as df
import azure.functions as func

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
TRACE = Path(os.environ["TRACE"])


def trace(line: str) -> int:
    with TRACE.open("a") as file:
        file.write(line + "\n")
    return TRACE.read_text().splitlines().count(line)


@app.route(route="pid")
def pid(req: func.HttpRequest) -> str:
    return str(os.getpid())


@app.route(route="nap")
async def nap(req: func.HttpRequest) -> str:
    await asyncio.sleep(0.5)
    return str(os.getpid())


@app.route(route="block")
async def block(req: func.HttpRequest) -> str:
    """Hold up the worker's event loop until told to go on."""
    print("about to block")
    trace(f"blocking {os.getpid()}")
    end = time.monotonic() + 2.8
    while not Path(f"{TRACE}.go").exists() and time.monotonic() < end:
        time.sleep(0.01)
    return str(os.getpid())


@app.route(route="stuck")
def stuck(req: func.HttpRequest) -> str:
    """Hold a thread for longer than any function may run."""
    time.sleep(30)
    return "never"


@app.route(route="start/{name}")
@app.durable_client_input(client_name="client")
async def start(req: func.HttpRequest, client: df.DurableFunctionsClient) -> str:
    instance_id = await client.schedule_new_orchestration(req.route_params["name"])
    state = await client.wait_for_orchestration_completion(instance_id, timeout=25)
    return state.serialized_output or ""


@app.orchestration_trigger(context_name="context")
def fan_out(context: df.DurableOrchestrationContext):
    pids = yield context.task_all([context.call_activity("work", each) for each in range(20)])
    return len(pids)


@app.activity_trigger(input_name="number")
def work(number: int) -> str:
    """The first run of the seventh ends its worker."""
    if trace(f"work {number}") == 1 and number == 7:
        os._exit(3)
    time.sleep(0.02)
    return str(os.getpid())
