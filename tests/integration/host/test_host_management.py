"""The HTTP management API of Durable Functions, spoken by a plain HTTP client."""

from typing import Any

import httpx
import pytest
from host_process import HostProcess, until

API = "/runtime/webhooks/durabletask"
JSON = {"Content-Type": "application/json"}


def start(host: HostProcess, name: str, given: Any = None, instance_id: str = "") -> dict[str, str]:
    answer = host.http.post(f"{API}/orchestrators/{name}/{instance_id}", json=given)
    assert answer.status_code == 202, answer.text
    links: dict[str, str] = answer.json()
    return links


def status(host: HostProcess, instance_id: str, **query: object) -> httpx.Response:
    return host.http.get(f"{API}/instances/{instance_id}", params=query)


def ended(host: HostProcess, instance_id: str, **query: object) -> dict[str, Any]:
    def document() -> dict[str, Any] | None:
        answer = status(host, instance_id, **query)
        return answer.json() if answer.status_code != 202 else None

    found = until(document, f"the end of {instance_id}")
    assert found is not None
    return found


def order(host: HostProcess, instance_id: str, operation: str, **query: object) -> httpx.Response:
    return host.http.post(f"{API}/instances/{instance_id}/{operation}", params=query)


def waits(host: HostProcess, instance_id: str) -> None:
    until(lambda: status(host, instance_id).json()["customStatus"] == "waiting", f"{instance_id} to wait")


def is_in(host: HostProcess, instance_id: str, wanted: str) -> None:
    until(
        lambda: status(host, instance_id).json()["runtimeStatus"] == wanted, f"{instance_id} to be {wanted}"
    )


def test_an_instance_is_started_and_its_status_tells_how_it_goes(durable: HostProcess) -> None:
    answer = durable.http.post(f"{API}/orchestrators/Approval/http-1", json={"for": "ann"})
    assert answer.status_code == 202
    links = answer.json()
    assert answer.headers["location"] == links["statusQueryGetUri"]
    assert answer.headers["retry-after"] == "10"
    assert links["id"] == "http-1"
    assert links["statusQueryGetUri"].startswith(
        f"{durable.url}{API}/instances/http-1?taskHub=DurableTests&connection=Storage&code="
    )
    assert links["sendEventPostUri"].startswith(
        f"{durable.url}{API}/instances/http-1/raiseEvent/{{eventName}}?"
    )
    assert "/terminate?reason={text}&taskHub=" in links["terminatePostUri"]
    waits(durable, "http-1")
    running = status(durable, "http-1")
    assert (running.status_code, running.headers["retry-after"]) == (202, "5")
    assert running.headers["location"] == f"{durable.url}{API}/instances/http-1"
    document = running.json()
    assert document.pop("createdTime") <= document.pop("lastUpdatedTime")
    assert document == {
        "name": "Approval",
        "instanceId": "http-1",
        "runtimeStatus": "Running",
        "input": {"for": "ann"},
        "customStatus": "waiting",
        "output": None,
    }
    assert status(durable, "http-1", showInput="false").json()["input"] is None
    event = durable.http.post(f"{API}/instances/http-1/raiseEvent/approval", json="yes")
    assert (event.status_code, event.content) == (202, b"")
    assert ended(durable, "http-1")["output"] == {"approved": "yes"}
    done = status(durable, "http-1")
    assert done.status_code == 200
    assert not {"location", "retry-after"} & set(done.headers)
    assert len(done.json()["createdTime"]) == len("2026-01-01T00:00:00Z")


def test_the_links_work_as_they_are(durable: HostProcess) -> None:
    links = start(durable, "approval", {})
    plain = durable.plain()
    until(lambda: plain.get(links["statusQueryGetUri"]).json()["customStatus"] == "waiting", "the wait")
    assert plain.post(links["suspendPostUri"].format(text="a break")).status_code == 202
    is_in(durable, links["id"], "Suspended")
    assert plain.get(links["statusQueryGetUri"]).status_code == 202
    assert plain.post(links["suspendPostUri"].format(text="again")).status_code == 409
    assert plain.post(links["resumePostUri"].format(text="go on")).status_code == 202
    is_in(durable, links["id"], "Running")
    assert plain.post(links["resumePostUri"].format(text="again")).status_code == 409
    assert plain.post(links["rewindPostUri"].format(text="not failed")).status_code == 412
    assert plain.post(links["sendEventPostUri"].format(eventName="approval"), json=7).status_code == 202
    assert ended(durable, links["id"])["output"] == {"approved": 7}
    again = plain.post(links["restartPostUri"])
    assert again.status_code == 202
    assert again.json()["id"] != links["id"]
    assert plain.post(again.json()["terminatePostUri"].format(text="by hand")).status_code == 202
    assert ended(durable, again.json()["id"])["output"] == "by hand"
    assert plain.delete(links["purgeHistoryDeleteUri"]).json() == {"instancesDeleted": 1}
    assert plain.get(links["statusQueryGetUri"]).status_code == 404


def test_what_cannot_be_done_to_an_instance_says_so(durable: HostProcess) -> None:
    operations = ("terminate", "suspend", "resume", "rewind", "raiseEvent/x")
    assert {order(durable, "nobody", each).status_code for each in operations} == {404}
    assert status(durable, "nobody").status_code == 404
    assert durable.http.delete(f"{API}/instances/nobody").status_code == 404
    restart = order(durable, "nobody", "restart")
    assert restart.status_code == 400
    assert restart.json()["Message"] == "InstanceId does not match a valid orchestration instance."
    start(durable, "counting_down", 0, "over")
    ended(durable, "over")
    assert {order(durable, "over", each).status_code for each in operations} == {410}
    start(durable, "approval", {}, "live")
    waits(durable, "live")
    assert durable.http.post(f"{API}/orchestrators/approval/live").status_code == 409
    assert order(durable, "live", "restart", restartWithNewInstanceId="false").status_code == 409
    assert durable.http.delete(f"{API}/instances/live").json() == {"instancesDeleted": 0}
    order(durable, "live", "terminate")


@pytest.mark.parametrize(
    ("method", "path", "options", "reason"),
    [
        ("POST", "orchestrators/absent", {}, "the orchestrator function 'absent' does not exist"),
        ("POST", "orchestrators/approval/@x", {}, "ids must not start with @"),
        ("POST", "orchestrators/approval/a%23b", {}, "ids must not contain"),
        ("POST", f"orchestrators/approval/{'x' * 257}", {}, "must not exceed 256"),
        ("POST", "orchestrators/approval", {"content": "{"}, "Invalid JSON content"),
        ("POST", "orchestrators/approval", {"content": "NaN"}, "NaN is not JSON"),
        ("POST", "orchestrators/approval", {"content": b"\xff"}, "the body is not UTF-8"),
        ("POST", "orchestrators/approval?timeout=1&pollingInterval=2", {}, "not be greater than timeout"),
        ("POST", "orchestrators/approval?taskHub=Another", {}, "hub 'DurableTests', not 'Another'"),
        ("POST", "instances/waits/raiseEvent/approval", {"content": "1"}, "Only application/json"),
        ("POST", "instances/waits/raiseEvent/approval", {"content": "", "headers": JSON}, "Invalid JSON"),
        ("GET", "instances?createdTimeFrom=yesterday", {}, "createdTimeFrom must be a time"),
        ("GET", "instances?runtimeStatus=Running,Lost", {}, "runtimeStatus must be one of Running"),
        ("GET", "instances?top=0", {}, "top must be a whole number"),
        ("GET", "instances?showInput=maybe", {}, "showInput must be true or false"),
        ("GET", "instances", {"headers": {"x-ms-continuation-token": "~"}}, "token must be one that"),
        ("DELETE", "instances", {}, "Please provide value for 'createdTimeFrom'"),
        ("POST", "entities/absent/x?op=add", {}, "the entity 'absent' does not exist or is disabled"),
        ("POST", "entities/counter/a%3Fb?op=add", {}, "Entity keys must not contain"),
        ("POST", "entities/counter?op=add", {}, "an entity needs a key"),
        ("POST", "entities/counter/a?op=add", {"content": "{", "headers": JSON}, "Invalid JSON"),
    ],
)  # fmt: skip
def test_a_request_that_makes_no_sense_is_400_and_says_why(
    method: str, path: str, options: dict[str, Any], reason: str, durable: HostProcess
) -> None:
    if "waits" in path:
        durable.http.post(f"{API}/orchestrators/approval/waits")
    answer = durable.http.request(method, f"{API}/{path}", **options)
    assert answer.status_code == 400, answer.text
    assert reason in answer.json()["Message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/nothing"),
        ("GET", "/orchestrators/approval"),
        ("POST", "/orchestrators"),
        ("PUT", "/instances/over"),
        ("POST", "/instances"),
        ("GET", "/instances/over/terminate"),
        ("POST", "/instances/over/explode"),
        ("PATCH", "/entities/counter/x"),
        ("POST", "/makeprimary"),
    ],
)
def test_any_other_path_or_method_is_404(method: str, path: str, durable: HostProcess) -> None:
    assert durable.http.request(method, API + path).status_code == 404


def test_a_start_may_wait_for_the_end(durable: HostProcess) -> None:
    query = {"timeout": "30", "pollingInterval": "1"}
    answer = durable.http.post(f"{API}/orchestrators/counting_down", json=1, params=query)
    assert (answer.status_code, answer.json()) == (200, "done")
    answer = durable.http.post(f"{API}/orchestrators/failing", json=str(durable.folder), params=query)
    assert (answer.status_code, answer.json()["runtimeStatus"]) == (200, "Failed")
    answer = durable.http.post(f"{API}/orchestrators/approval", params={"timeout": "0.01"})
    assert answer.status_code == 202
    order(durable, answer.json()["id"], "terminate")


def test_a_failed_instance_is_200_or_500_and_can_be_rewound(durable: HostProcess) -> None:
    obstacle = durable.folder / "http-obstacle"
    obstacle.touch()
    start(durable, "failing", str(obstacle), "http-failing")
    document = ended(durable, "http-failing")
    assert document["runtimeStatus"] == "Failed"
    assert str(obstacle) in document["output"]
    assert status(durable, "http-failing").status_code == 200
    assert status(durable, "http-failing", returnInternalServerErrorOnFailure="true").status_code == 500
    begun = durable.http.post("/api/begin/failing", json=str(obstacle), params={"failed_is_500": "1"}).json()
    until(lambda: durable.plain().get(begun["statusQueryGetUri"]).status_code == 500, "the failure")
    obstacle.unlink()
    assert order(durable, "http-failing", "rewind", reason="it was removed").status_code == 202
    is_in(durable, "http-failing", "Completed")
    assert status(durable, "http-failing").json()["output"] == "it is gone"


def test_the_history_tells_each_step_once_with_what_was_asked_for(durable: HostProcess) -> None:
    start(durable, "everything", {"a": 1}, "told")
    ended(durable, "told")
    events = ended(durable, "told", showHistory="true")["historyEvents"]
    kinds = [event["EventType"] for event in events]
    assert kinds[0] == "ExecutionStarted"
    assert kinds[-1] == "ExecutionCompleted"
    assert not {"OrchestratorStarted", "TaskScheduled", "SubOrchestrationInstanceCreated"} & set(kinds)
    assert events[0]["FunctionName"] == "everything"
    assert events[0]["Input"] == '{"a":1}'
    task = next(event for event in events if event["EventType"] == "TaskCompleted")
    assert (task["FunctionName"], task["Input"]) == ("double", "21")
    assert task["ScheduledTime"] <= task["Timestamp"]
    assert "Result" not in task
    failed = next(event for event in events if event["EventType"] == "TaskFailed")
    assert failed["FunctionName"] == "fails_twice"
    assert failed["FailureDetails"]["ErrorType"] == "OSError"
    assert events[-1]["OrchestrationStatus"] == "Completed"
    query = {"showHistory": "true", "showHistoryOutput": "true", "showInput": "false"}
    told = ended(durable, "told", **query)["historyEvents"]
    assert not any("Input" in event for event in told)
    assert next(event for event in told if event["EventType"] == "TaskCompleted")["Result"] == 42
    assert told[-1]["Result"]["activity"] == 42
    assert "historyEvents" not in status(durable, "told").json()


def test_instances_are_listed_by_page_prefix_status_and_time_and_purged(durable: HostProcess) -> None:
    for number in range(5):
        start(durable, "counting_down", 0, f"page-{number}")
        ended(durable, f"page-{number}")
    start(durable, "approval", {"for": "ann"}, "page-live")
    pages, token = [], ""
    while True:
        answer = durable.http.get(
            f"{API}/instances",
            params={"instanceIdPrefix": "page-", "top": 2},
            headers={"x-ms-continuation-token": token},
        )
        pages.append([each["instanceId"] for each in answer.json()])
        token = answer.headers.get("x-ms-continuation-token", "")
        if not token:
            break
    assert pages == [["page-0", "page-1"], ["page-2", "page-3"], ["page-4", "page-live"]]

    def listed(**query: object) -> list[str]:
        answer = durable.http.get(f"{API}/instances", params={"instanceIdPrefix": "page-", **query})
        assert answer.status_code == 200
        return [each["instanceId"] for each in answer.json()]

    assert listed(runtimeStatus="Running,Pending") == ["page-live"]
    assert listed(runtimeStatus=["Completed", "Failed"], top=3) == ["page-0", "page-1", "page-2"]
    created = status(durable, "page-live").json()["createdTime"]
    assert "page-live" in listed(createdTimeFrom=created, createdTimeTo="2200-01-01T00:00:00+00:00")
    assert listed(createdTimeFrom="2200-01-01") == []
    with_input = durable.http.get(f"{API}/instances", params={"instanceIdPrefix": "page-live"}).json()[0]
    assert with_input["input"] == {"for": "ann"}
    without = {"instanceIdPrefix": "page-live", "showInput": "false"}
    assert durable.http.get(f"{API}/instances", params=without).json()[0]["input"] is None
    order(durable, "page-live", "terminate", reason="over")
    is_in(durable, "page-live", "Terminated")
    query = {"createdTimeFrom": created, "runtimeStatus": "Terminated"}
    assert durable.http.delete(f"{API}/instances", params=query).json()["instancesDeleted"] >= 1
    assert listed(runtimeStatus="Terminated") == []
    assert "page-0" in listed()
    query = {"createdTimeFrom": "2200-01-01T00:00:00Z"}
    assert durable.http.delete(f"{API}/instances", params=query).status_code == 404


def test_entities_are_signalled_read_listed_and_deleted(durable: HostProcess) -> None:
    for key, amount in (("http-a", 1), ("http-b", 2)):
        answer = durable.http.post(f"{API}/entities/Counter/{key}", params={"op": "add"}, json=amount)
        assert (answer.status_code, answer.content) == (202, b"")
        until(
            lambda key=key: durable.http.get(f"{API}/entities/counter/{key}").status_code == 200, "the entity"
        )
        assert durable.http.get(f"{API}/entities/COUNTER/{key}").json() == amount
    assert durable.http.get(f"{API}/entities/counter/nobody").status_code == 404
    durable.http.post(f"{API}/entities/notary/http-text", params={"op": "note"}, content="plain text")
    until(lambda: durable.http.get(f"{API}/entities/notary/http-text").status_code == 200, "the note")
    assert durable.http.get(f"{API}/entities/notary/http-text").json() == "plain text"

    def page(name: str, token: str = "", **query: object) -> tuple[list[dict[str, Any]], str]:
        headers = {"x-ms-continuation-token": token}
        answer = durable.http.get(f"{API}/entities/{name}", params=query, headers=headers)
        return answer.json(), answer.headers.get("x-ms-continuation-token", "")

    found, token = page("counter", top=1, fetchState="true")
    everything = list(found)
    while token:
        found, token = page("counter", token, top=1, fetchState="true")
        everything += found
    states = {each["entityId"]["key"]: each["state"] for each in everything}
    assert (states["http-a"], states["http-b"]) == (1, 2)
    listed, _ = page("")
    assert {"counter", "notary"} <= {each["entityId"]["name"] for each in listed}
    assert not any("state" in each for each in listed)
    moment = listed[0]["lastOperationTime"]
    assert moment.endswith("Z")
    assert page("counter", lastOperationTimeFrom="2200-01-01T00:00:00Z") == ([], "")
    assert durable.http.delete(f"{API}/entities/counter/http-a").status_code == 202
    until(lambda: durable.http.get(f"{API}/entities/counter/http-a").status_code == 404, "the deletion")
