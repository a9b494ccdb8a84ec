"""Who may call what on a host that asks for keys, browsers of other origins, and functions run by hand."""

import json
from typing import Any

import pytest
from host_process import HostProcess, until

API = "/runtime/webhooks/durabletask"
EVERYBODY = {"none", "wrong", "master", "host", "system", "function", "another function"}


@pytest.fixture
def keys(durable: HostProcess) -> dict[str, str]:
    document = json.loads((durable.folder / "data" / "keys.json").read_text())
    return {
        "none": "",
        "wrong": "x" * len(document["masterKey"]),
        "master": document["masterKey"],
        "host": document["functionKeys"]["default"],
        "system": document["systemKeys"]["durabletask_extension"],
        "function": document["functions"]["echo"]["default"],
        "another function": document["functions"]["open_to_all"]["default"],
    }


@pytest.mark.parametrize(
    ("method", "path", "opened_by"),
    [
        ("GET", "/api/open", EVERYBODY),
        ("POST", "/api/echo", {"master", "host", "function"}),
        ("GET", "/api/admin_only", {"master"}),
        ("GET", "/admin/host/status", {"master"}),
        ("GET", "/admin/functions", {"master"}),
        ("GET", f"{API}/instances", {"master", "system"}),
        (
            "GET",
            "/admin/host/ping",
            EVERYBODY,
        ),
    ],
)
def test_each_key_opens_what_it_is_for_by_header_and_by_query(
    method: str, path: str, opened_by: set[str], durable: HostProcess, keys: dict[str, str]
) -> None:
    plain = durable.plain()
    for name, key in keys.items():
        answers = {
            plain.request(method, durable.url + path, headers={"x-functions-key": key}).status_code,
            plain.request(method, durable.url + path, params={"code": key}).status_code,
        }
        assert (answers == {401}) is (name not in opened_by), (name, answers)
    assert (plain.request(method, durable.url + path).status_code == 401) is ("none" not in opened_by)


def test_a_path_that_is_not_there_is_404_without_a_key(durable: HostProcess) -> None:
    assert durable.plain().get(f"{durable.url}/api/nothing").status_code == 404


def test_the_header_counts_before_the_query(durable: HostProcess, keys: dict[str, str]) -> None:
    answer = durable.plain().post(
        f"{durable.url}/api/echo", params={"code": keys["host"]}, headers={"x-functions-key": ""}
    )
    assert answer.status_code == 401


def test_the_keys_can_be_read_with_the_master_key(durable: HostProcess, keys: dict[str, str]) -> None:
    def read(path: str) -> Any:
        answer = durable.http.get(f"/admin/{path}")
        assert answer.status_code == 200
        return answer.json()

    listed = read("functions/echo/keys")
    assert listed["keys"] == [{"name": "default", "value": keys["function"]}]
    assert listed["links"] == [{"rel": "self", "href": f"{durable.url}/admin/functions/echo/keys"}]
    assert read("functions/Echo/keys/Default")["value"] == keys["function"]
    assert read("host/keys")["keys"] == [{"name": "default", "value": keys["host"]}]
    assert read("host/functionkeys/default")["value"] == keys["host"]
    assert read("host/systemkeys")["keys"] == [{"name": "durabletask_extension", "value": keys["system"]}]
    assert read("host/systemkeys/_master")["value"] == keys["master"]
    for missing in ("functions/absent/keys", "host/keys/other", "host/systemkeys/other", "host/otherkeys"):
        assert durable.http.get(f"/admin/{missing}").status_code == 404
    assert durable.http.post("/admin/host/keys/default").status_code == 405


def test_no_key_is_ever_written_to_the_log(durable: HostProcess, keys: dict[str, str]) -> None:
    durable.plain().post(f"{durable.url}/api/echo", params={"code": keys["function"]}, content="{}")
    durable.plain().get(f"{durable.url}{API}/instances", params={"code": keys["system"]})
    durable.wait_for_log("echo POST /api/echo")
    assert not [name for name, key in keys.items() if key and key in durable.log]
    assert "functions are called with the keys in" in durable.log


# -- browsers of other origins (local.settings.json names two, with credentials)


def test_a_browsers_question_is_answered_for_the_origins_that_are_named(durable: HostProcess) -> None:
    plain = durable.plain()
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-functions-key, x-a"}
    answer = plain.options(f"{durable.url}/api/echo", headers={"Origin": "http://localhost:3000", **asked})
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-methods"] == "PUT"
    assert answer.headers["access-control-allow-headers"] == "x-functions-key, x-a"
    refused = plain.options(f"{durable.url}/api/echo", headers={"Origin": "http://elsewhere", **asked})
    assert refused.status_code == 204
    assert not [name for name in refused.headers if name.startswith("access-control")]


def test_answers_name_the_origin_whoever_gives_them(durable: HostProcess) -> None:
    origin = {"Origin": "https://portal.example"}
    for path in ("/api/open", "/api/echo", "/api/nothing", f"{API}/instances", "/admin/host/ping"):
        headers = durable.plain().get(durable.url + path, headers=origin).headers
        assert headers["access-control-allow-origin"] == "https://portal.example", path
        assert headers["vary"] == "Origin"
    assert (
        durable.plain().get(f"{durable.url}/api/open").headers["access-control-allow-origin"]
        == "set by the app"
    )


# -- functions run by hand


def test_functions_that_are_not_called_by_http_are_run_by_hand(durable: HostProcess) -> None:
    def run(name: str, **body: Any) -> int:
        return durable.http.post(f"/admin/functions/{name}", json=body).status_code

    assert run("yearly") == 202
    assert run("Unmonitored", input="ignored") == 202
    assert run("on_message", input="typed by hand") == 202
    assert run("count", input='"by hand"') == 202
    assert durable.wait_for_trace("yearly")[0].startswith("yearly False 20")
    assert durable.wait_for_trace("yearly")[0].endswith("-01-01T03:00:00+01:00 True")
    assert durable.wait_for_trace("unmonitored") == ["unmonitored {} False"]
    assert durable.wait_for_trace("message") == ["message typed by hand"]
    durable.wait_for_trace("called by hand")
    assert run("absent") == 404


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("echo", "{}", "is called by its URL"),
        ("approval", "{}", "is run through a durable client"),
        ("counter", "{}", "is run through a durable client"),
        ("yearly", "", "the body must be JSON"),
        ("yearly", "[]", "the body must be an object"),
    ],
)
def test_what_cannot_be_run_by_hand_says_why(
    name: str, content: str, reason: str, durable: HostProcess
) -> None:
    answer = durable.http.post(f"/admin/functions/{name}", content=content)
    assert answer.status_code == 400
    assert reason in answer.json()["Message"]


def test_functions_are_described(durable: HostProcess) -> None:
    document = durable.http.get("/admin/functions/echo").json()
    assert document["invoke_url_template"] == f"{durable.url}/api/echo"
    assert document["config"]["bindings"][0]["type"] == "httpTrigger"
    assert document in durable.http.get("/admin/functions").json()
    assert durable.http.get("/admin/functions/absent").status_code == 404
    until(lambda: durable.status()["state"] == "Running", "the host's state")
