"""The classic form of HTTP functions, and what the settings became."""

import json
import os

import azure.durable_functions as df
import azure.functions as func

app = df.DFApp(http_auth_level=func.AuthLevel.FUNCTION)


@app.route(route="echo/{name}", methods=["POST"])
def echo(req: func.HttpRequest) -> func.HttpResponse:
    answer = {
        "method": req.method,
        "url": req.url,
        "name": req.route_params["name"],
        "q": req.params.get("q"),
        "header": req.headers.get("X-Thing"),
        "body": req.get_body().decode(),
    }
    response = func.HttpResponse(json.dumps(answer), status_code=201, mimetype="application/json")
    response.headers.add("Set-Cookie", "a=1; Path=/")
    response.headers.add("Set-Cookie", "b=2; HttpOnly")
    return response


@app.route(methods=["GET"])
async def text(req: func.HttpRequest) -> str:
    return "plain"


@app.route(methods=["GET"])
def fails(req: func.HttpRequest) -> str:
    raise ValueError("a classic failure")


@app.route(methods=["GET"])
def setting(req: func.HttpRequest) -> str:
    names = ("GREETING", "OVERRIDDEN", "FLAG", "EXTRA", "AZURE_FUNCTIONS_ENVIRONMENT")
    return json.dumps({name: os.environ.get(name) for name in names})


@app.route(methods=["GET"])
@app.durable_client_input(client_name="client")
async def status(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    return client.create_check_status_response(req, "an-instance")


@app.route(methods=["GET"])
@app.generic_input_binding(arg_name="client", type="durableClient")
def raw(req: func.HttpRequest, client: str) -> str:
    return client


@app.route(methods=["GET"])
def switched_off(req: func.HttpRequest) -> str:
    return "this function is disabled"
