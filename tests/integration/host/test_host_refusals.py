"""What a host refuses to start with: each in one line that names the culprit, with its exit code."""

import asyncio
import json
import os
import signal
from pathlib import Path

import httpx
import pytest
from host_process import APPS, HostProcess

from aos.local.host import Host, HostError, HostOptions

WORKING = """
import azure.functions as func
app = func.FunctionApp()
@app.route(route="hello")
def hello(req: func.HttpRequest) -> str:
    return "hello"
"""
BAD_APPS = {
    "syntax": ("def broken(:\n", ["function_app.py, line 1: SyntaxError"]),
    "import": (
        "import os\nimport no_such_module\n",
        ["function_app.py, line 2: ModuleNotFoundError", "no_such_module"],
    ),
    "raises": (
        "import os\nos.environ['NOT_SET_AT_ALL']\n",
        ["function_app.py, line 2: KeyError: 'NOT_SET_AT_ALL'"],
    ),
    "exits": ("raise SystemExit(0)\n", ["ended the process while it was being loaded"]),
    "empty app": ("import azure.functions as func\napp = func.FunctionApp()\n", ["the app has no functions"]),
    "signature": (
        WORKING + "@app.route(route='two')\ndef two(request: str) -> str:\n    return ''\n",
        ["cannot load the two function", "request"],
    ),
    "retry": (
        WORKING
        + "@app.timer_trigger('t', schedule='0 0 * * * *')\n"
        + "@app.retry(strategy='fixed_delay', max_retry_count='3', delay_interval='10s')\n"
        + "def tick(t: func.TimerRequest) -> None: ...\n",
        ["function tick: ValueError: time data '10s' does not match format '%H:%M:%S'"],
    ),
    "bindings": (
        WORKING
        + "@app.queue_trigger(arg_name='message', queue_name='q', connection='C')\n"
        + "def on_queue(message: func.QueueMessage) -> None: ...\n"
        + "@app.route(route='out')\n"
        + "@app.service_bus_queue_output(arg_name='sent', queue_name='{id}', connection='C')\n"
        + "def sending(req: func.HttpRequest, sent: func.Out[str]) -> str: ...\n",
        [
            "function on_queue: binding 'message' of type queueTrigger (in) is not supported",
            "Its triggers are httpTrigger, timerTrigger, serviceBusTrigger,",
            "when the app setting AzureWebJobs.NAME.Disabled is true",
            "function sending: binding 'sent' of type serviceBus names '{id}': binding expressions",
        ],
    ),
}


def make_app(folder: Path, code: str = WORKING, **files: object) -> Path:
    app = folder / "app"
    app.mkdir()
    (app / "function_app.py").write_text(code)
    documents: dict[str, object] = {"host.json": {"version": "2.0"}}
    documents |= {name.replace("_json", ".json"): content for name, content in files.items()}
    for name, content in documents.items():
        if content is not None:
            (app / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return app


async def refusal(app: Path, folder: Path, **options: object) -> HostError:
    with pytest.raises(HostError) as caught:
        await Host.start(HostOptions(app=app, data=folder / "data", port=0, **options))  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize("name", BAD_APPS)
async def test_an_app_that_cannot_be_served_whole_is_not_served_at_all(name: str, tmp_path: Path) -> None:
    code, expected = BAD_APPS[name]
    error = await refusal(make_app(tmp_path, code), tmp_path)
    assert error.code == 1
    for text in expected:
        assert text in error.message
    assert "sys.path" not in error.message
    assert "\n" not in error.message


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"host_json": None}, "host.json does not exist"),
        ({"host_json": "{"}, "host.json is not valid JSON"),
        ({"host_json": "[]"}, "host.json must hold a JSON object"),
        ({"host_json": {"version": "1.0"}}, 'version must be "2.0"'),
        (
            {"host_json": {"version": "2.0", "functionTimeout": "soon"}},
            "functionTimeout: 'soon' is not a time span",
        ),
        ({"host_json": {"version": "2.0", "customHandler": {}}}, "customHandler is not supported"),
        (
            {"host_json": {"version": "2.0", "extensions": {"serviceBus": {"maxConcurrentCalls": "two"}}}},
            "extensions.serviceBus.maxConcurrentCalls must be a whole number",
        ),
        (
            {"host_json": {"version": "2.0", "extensions": {"durableTask": {"defaultVersion": 1}}}},
            "extensions.durableTask.defaultVersion must be a string",
        ),
        ({"local.settings_json": {"Host": {"CORS": ["http://a"]}}}, "Host.CORS must be a text"),
        (
            {"local.settings_json": {"Values": {"WEBSITE_TIME_ZONE": "Mars/Olympus"}}},
            "WEBSITE_TIME_ZONE: 'Mars/Olympus' is not a time zone",
        ),
        ({"local.settings_json": "{]"}, "local.settings.json is not valid JSON"),
        ({"local.settings_json": {"IsEncrypted": True, "Values": {}}}, "IsEncrypted"),
        ({"local.settings_json": {"Values": {"A": {}}}}, "Values.A must be a string"),
        (
            {"local.settings_json": {"Values": {"FUNCTIONS_WORKER_RUNTIME": "node"}}},
            "FUNCTIONS_WORKER_RUNTIME is 'node'",
        ),
    ],
)
async def test_a_bad_settings_file_is_named_with_what_is_wrong(
    files: dict[str, object], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FUNCTIONS_WORKER_RUNTIME", raising=False)
    error = await refusal(make_app(tmp_path, WORKING, **files), tmp_path)
    assert error.code == 2
    assert expected in error.message
    assert "\n" not in error.message


async def test_a_missing_app_folder_or_script_is_named(tmp_path: Path) -> None:
    assert "nowhere does not exist" in (await refusal(tmp_path / "nowhere", tmp_path)).message
    (tmp_path / "file").touch()
    assert "file is not a folder" in (await refusal(tmp_path / "file", tmp_path)).message
    app = make_app(tmp_path)
    (app / "function_app.py").unlink()
    assert "function_app.py does not exist" in (await refusal(app, tmp_path)).message


async def test_a_bad_topology_is_named(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    missing = await refusal(app, tmp_path, topology=tmp_path / "none.json")
    assert (missing.code, "none.json" in missing.message) == (2, True)
    (tmp_path / "bad.json").write_text('{"UserConfig": {"Namespaces": [{"Queues": [{}]}]}}')
    bad = await refusal(app, tmp_path, topology=tmp_path / "bad.json")
    assert "Queues[0].Name: missing" in bad.message


async def test_a_queue_outside_the_topology_and_a_foreign_namespace_are_named(tmp_path: Path) -> None:
    code = WORKING + (
        "@app.service_bus_queue_trigger(arg_name='m', queue_name='absent', connection='Bus')\n"
        "def on_message(m: func.ServiceBusMessage) -> None: ...\n"
    )
    app = make_app(tmp_path, code)
    topology = APPS / "work" / "infra" / "servicebus.json"
    error = await refusal(app, tmp_path, topology=topology)
    assert "function on_message, binding 'm': queue 'absent' is not in the topology" in error.message
    error = await refusal(app, tmp_path, env={"Bus__fullyQualifiedNamespace": "x.servicebus.windows.net"})
    assert "binding 'm': the setting Bus__fullyQualifiedNamespace points to another" in error.message


async def test_a_durable_client_of_another_hub_is_named(tmp_path: Path) -> None:
    code = (
        "import azure.durable_functions as df\nimport azure.functions as func\napp = df.DFApp()\n"
        "@app.route(route='x')\n@app.durable_client_input(client_name='client', task_hub='Elsewhere')\n"
        "async def f(req: func.HttpRequest, client) -> str: ...\n"
    )
    error = await refusal(make_app(tmp_path, code), tmp_path)
    assert "function f: its durable client 'client' is of the task hub 'Elsewhere'" in error.message
    assert "'TestHubName'" in error.message


async def test_an_unusable_data_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    assert "cannot use the data folder" in (await refusal(make_app(tmp_path), tmp_path)).message


async def test_a_corrupt_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "hub.db").write_bytes(b"not a database at all" * 100)
    error = await refusal(make_app(tmp_path), tmp_path)
    assert (error.code, "hub.db" in error.message) == (2, True)


async def test_a_host_can_be_embedded_and_started_again_on_its_data(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    for _ in range(2):
        host = await Host.start(HostOptions(app=app, data=tmp_path / "data", port=0, grace_s=1))
        assert host.url == f"http://127.0.0.1:{host.port}"
        await host.stop()
        await host.wait()


@pytest.mark.parametrize(
    ("edited", "reason"),
    [
        ("import no_such_module\n", "no_such_module"),
        (WORKING.replace("hello", "another"), "functions changed on disk"),
    ],
)
async def test_a_host_whose_app_was_spoilt_gives_up_when_its_worker_has_to_be_restarted(
    edited: str, reason: str, tmp_path: Path
) -> None:
    app = make_app(tmp_path)
    host = await Host.start(HostOptions(app=app, data=tmp_path / "data", port=0, grace_s=1))
    (app / "function_app.py").write_text(edited)
    async with httpx.AsyncClient() as client:
        worker = (await client.get(f"{host.url}/admin/host/status")).json()["workerPid"]
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(HostError, match=reason) as caught:
        await asyncio.wait_for(host.wait(), 60)
    await host.stop()
    assert caught.value.code == 1


def test_the_exit_code_and_one_line_on_standard_error_tell_what_is_wrong(tmp_path: Path) -> None:
    host = HostProcess(make_app(tmp_path, host_json="{"), tmp_path)
    assert host.end() == 2
    assert len(host.log.splitlines()) == 1
    assert "host.json is not valid JSON" in host.log
