"""A Functions app of plain durable functions, which measures itself when asked over HTTP."""

import functools

import azure.durable_functions as df
import azure.functions as func
from azurefunctions.extensions.http.fastapi import JSONResponse, Request

from bench import orchestrations
from bench.load import measure

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.orchestration_trigger(context_name="context")(orchestrations.one)
app.orchestration_trigger(context_name="context")(orchestrations.chain)
app.orchestration_trigger(context_name="context")(orchestrations.long)
app.orchestration_trigger(context_name="context")(orchestrations.fan)
app.entity_trigger(context_name="context")(orchestrations.counter)


@app.activity_trigger(input_name="value")
def step(value: int) -> int:
    """Do nothing much."""
    return orchestrations.begun(value)


@functools.cache
def _client(binding: str) -> df.DurableFunctionsClient:
    return df.DurableFunctionsClient(binding)


@app.route(route="measure/{what}/{count:int}", methods=["POST"])
@app.generic_input_binding(arg_name="client", type="durableClient")
async def measured(req: Request, client: str) -> JSONResponse:
    """Measure, and answer with what `measure` returns."""
    return JSONResponse(
        await measure(_client(client), req.path_params["what"], int(req.path_params["count"]))
    )
