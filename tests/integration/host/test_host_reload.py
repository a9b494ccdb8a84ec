"""--reload: an edit is loaded, one that does not load is said, and no work is lost between versions."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from host_process import HostProcess, until

APP = """
import asyncio, os, azure.functions as func, azure.durable_functions as df
from pathlib import Path
from greeting import TEXT
app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)

def trace(line):
    with Path(os.environ["TRACE"]).open("a") as file:
        file.write(line + "\\n")

@app.route(route="hello")
async def hello(req: func.HttpRequest) -> str:
    if "seconds" in req.params:
        trace("napping")
        await asyncio.sleep(float(req.params["seconds"]))
    return TEXT + os.environ.get("NAME", "")

@app.route(route="start")
@app.durable_client_input(client_name="client")
async def start(req: func.HttpRequest, client: df.DurableFunctionsClient) -> str:
    return await client.schedule_new_orchestration("job", instance_id="job")

@app.route(route="result")
@app.durable_client_input(client_name="client")
async def result(req: func.HttpRequest, client: df.DurableFunctionsClient) -> str:
    state = await client.wait_for_orchestration_completion("job", timeout=25)
    return state.serialized_output or state.failure_details.message

@app.orchestration_trigger(context_name="context")
def job(context: df.DurableOrchestrationContext):
    answer = yield context.call_activity("wait", None)
    return answer

@app.activity_trigger(input_name="ignored")
async def wait(ignored: str) -> str:
    trace("waiting")
    if TEXT == "one":
        await asyncio.sleep(60)
    return TEXT

@app.service_bus_queue_trigger(arg_name="message", queue_name="jobs", connection="")
def on_message(message: func.ServiceBusMessage) -> None:
    trace("message " + message.get_body().decode())

@app.timer_trigger(arg_name="timer", schedule="0 0 3 * * *", run_on_startup=True)
def tick(timer: func.TimerRequest) -> None:
    trace("tick")
"""


@pytest.fixture
def edited(tmp_path: Path) -> Iterator[Callable[..., HostProcess]]:
    """A host with --reload on an app in `tmp_path / "app"`; files are given by their names."""
    hosts: list[HostProcess] = []

    def make(grace: str = "0.5", **files: str) -> HostProcess:
        app = tmp_path / "app"
        app.mkdir()
        texts = {"function_app.py": APP, "greeting.py": 'TEXT = "one"\n', "host.json": '{"version": "2.0"}'}
        for name, text in (texts | files).items():
            (app / name).write_text(text)
        hosts.append(HostProcess(app, tmp_path, "--reload", "--grace", grace, "--workers", "2").ready())
        return hosts[-1]

    yield make
    for host in hosts:
        host.stop()


def says(host: HostProcess, text: str, path: str = "/api/hello") -> None:
    until(lambda: text in httpx.get(host.url + path, timeout=30).text, f"{text!r} from {path}")


def test_edits_of_code_settings_and_host_json_are_served_and_work_goes_on(
    edited: Callable[..., HostProcess], tmp_path: Path
) -> None:
    host = edited()
    app = tmp_path / "app"
    assert host.http.get("/api/hello").text == "one"
    host.http.get("/api/start")
    host.wait_for_trace("waiting")
    (app / "greeting.py").write_text('TEXT = "two"\n')
    host.wait_for_log("greeting.py changed: loading the app again")
    assert host.http.get("/api/hello").text == "two"
    assert json.loads(host.http.get("/api/result").text) == "two"
    assert len(host.wait_for_trace("tick", 2)) == 2
    settings = {"Values": {"NAME": " and more"}, "Host": {"CORS": "http://browser"}}
    (app / "local.settings.json").write_text(json.dumps(settings))
    says(host, "two and more")
    answer = host.http.get("/api/hello", headers={"Origin": "http://browser"})
    assert answer.headers["access-control-allow-origin"] == "http://browser"
    instances = "/runtime/webhooks/durabletask/instances"
    assert [each["instanceId"] for each in host.http.get(instances).json()] == ["job"]
    extensions = {"http": {"routePrefix": "v1"}, "durableTask": {"hubName": "Another"}}
    (app / "host.json").write_text(json.dumps({"version": "2.0", "extensions": extensions}))
    says(host, "two and more", "/v1/hello")
    assert host.http.get("/api/hello").status_code == 404
    assert host.http.get(instances).json() == []  # a name is a hub of its own
    assert host.http.get(instances, params={"taskHub": "TestHubName"}).status_code == 400


def test_what_runs_when_an_edit_comes_has_the_grace_period(
    edited: Callable[..., HostProcess], tmp_path: Path
) -> None:
    host = edited(grace="20")
    with httpx.Client(base_url=host.url, timeout=30) as client:
        answers: list[str] = []
        thread = threading.Thread(
            target=lambda: answers.append(client.get("/api/hello", params={"seconds": "1"}).text)
        )
        thread.start()
        host.wait_for_trace("napping")
        (tmp_path / "app" / "greeting.py").write_text('TEXT = "two"\n')
        says(host, "two")
        thread.join()
    assert answers == ["one"]


def test_an_app_that_does_not_load_is_said_and_answers_503_until_it_is_mended(
    edited: Callable[..., HostProcess], tmp_path: Path
) -> None:
    host = edited(**{"greeting.py": "TEXT = \n"})
    assert "error: the app cannot be loaded: greeting.py, line 1: SyntaxError" in host.log
    answer = host.http.get("/api/hello")
    assert (answer.status_code, "greeting.py, line 1" in answer.text) == (503, True)
    assert host.status()["state"] == "Error"
    (tmp_path / "app" / "greeting.py").write_text('TEXT = "mended"\n')
    says(host, "mended")
    (tmp_path / "app" / "host.json").write_text("{")
    host.wait_for_log("host.json is not valid JSON")
    assert host.http.get("/api/hello").status_code == 503
    (tmp_path / "app" / "host.json").write_text('{"version": "2.0"}')
    says(host, "mended")
    host.signal(signal.SIGINT)
    assert host.end() == 0
    assert "Traceback" not in host.log
