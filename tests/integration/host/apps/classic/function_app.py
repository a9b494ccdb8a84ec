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


@app.route(route="whole/{kind:alpha}/{number:int=7}")
async def whole(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """Everything that a request has, in whatever method."""
    answer = {
        "method": req.method,
        "route": dict(req.route_params),
        "params": dict(req.params),
        "headers": {name: value for name, value in req.headers.items() if name.startswith("x-mine")},
        "form": req.form.to_dict(flat=False),
        "files": {name: [file.filename, file.read().decode()] for name, file in req.files.items()},
        "function": [context.function_name, len(context.invocation_id)],
    }
    return func.HttpResponse(json.dumps(answer), mimetype="application/json")


@app.route(route="reply/{kind}", methods=["GET", "HEAD", "OPTIONS"])
def reply(req: func.HttpRequest) -> func.HttpResponse:
    """A response of the kind asked for."""
    match req.route_params["kind"]:
        case "nothing":
            return None
        case "empty":
            return func.HttpResponse(status_code=204)
        case "bytes":
            return func.HttpResponse(b"\x00\xff", mimetype="application/octet-stream")
        case "latin":
            return func.HttpResponse("gr\u00fcn", mimetype="text/html", charset="iso-8859-1")
        case "redirect":
            return func.HttpResponse(status_code=307, headers={"Location": "/api/text"})
        case "cookies":
            response = func.HttpResponse("with cookies")
            response.headers.add("Set-Cookie", "a=1; Path=/; HttpOnly; SameSite=Lax")
            response.headers.add("Set-Cookie", "b=2; Max-Age=60; Secure")
            return response
        case "large":
            return func.HttpResponse(b"x" * 5_000_000)
        case _:
            return func.HttpResponse("of no kind", status_code=200)


@app.route(methods=["POST"])
def size(req: func.HttpRequest) -> str:
    return str(len(req.get_body()))
