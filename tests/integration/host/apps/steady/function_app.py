"""Functions that take their time or crash, for tests of stopping."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import azure.durable_functions as df
from azurefunctions.extensions.http.fastapi import Request, StreamingResponse

app = df.DFApp()


@app.route(route="slow", methods=["GET"])
async def slow(req: Request) -> str:
    Path(os.environ["TRACE"]).write_text("started")
    await asyncio.sleep(float(req.query_params["seconds"]))
    return "finished"


@app.route(route="events", methods=["GET"])
async def events(req: Request) -> StreamingResponse:
    async def stream():
        yield "data: hello\n\n"
        await asyncio.Event().wait()

    return StreamingResponse(stream(), media_type="text/event-stream")


@app.route(route="orphan", methods=["POST"])
async def orphan(req: Request) -> str:
    """Leave a process behind that holds on to everything it inherits, then die."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(20)"], close_fds=False)
    Path(os.environ["TRACE"]).write_text(str(child.pid))
    os._exit(7)


@app.route(route="crash", methods=["POST"])
@app.durable_client_input(client_name="client")
async def crash(req: Request, client: df.DurableFunctionsClient) -> str:
    return await client.schedule_new_orchestration("crash_for_ever")


@app.orchestration_trigger(context_name="context")
def crash_for_ever(context: df.DurableOrchestrationContext):
    yield context.call_activity("end_worker", None)


@app.activity_trigger(input_name="ignored")
def end_worker(ignored: str) -> str:
    os._exit(9)
