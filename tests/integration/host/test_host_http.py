"""HTTP v2 through a host process: routing, streaming, disconnects, failures, time limits."""

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from bus_client import client_of
from host_process import HostProcess, until


def test_route_parameters_and_the_query_reach_the_function(web: HostProcess) -> None:
    answer = web.http.get("/items/7/left%20hand", params={"a": "1", "b": "é"})
    assert answer.json() == {
        "params": {"id": "7", "part": "left hand"},
        "query": {"a": "1", "b": "é"},
        "method": "GET",
    }


def test_an_optional_parameter_may_be_left_out(web: HostProcess) -> None:
    assert web.http.get("/items/7").json()["params"] == {"id": "7"}


def test_literals_win_over_constraints_and_those_over_plain_parameters(web: HostProcess) -> None:
    assert web.http.get("/items/special").json() == "special"
    assert web.http.get("/items/other").json() == "named other"
    assert web.http.get("/items/12").json()["params"] == {"id": "12"}


def test_a_method_that_no_route_allows_is_404_as_in_azure_and_says_which_are(web: HostProcess) -> None:
    answer = web.http.put("/items/7")
    assert answer.status_code == 404
    assert answer.text == "only DELETE, GET, POST is taken here"  # POST by the catch-all route


def test_the_hosts_own_paths_never_reach_the_app(web: HostProcess) -> None:
    assert web.http.get("/runtime/webhooks/anything").status_code == 404
    assert web.http.get("/admin/nothing").status_code == 404


def test_custom_headers_of_host_json_are_on_every_response(web: HostProcess) -> None:
    assert web.http.get("/items/7").headers["x-served-by"] == "tests"


@pytest.mark.parametrize("chunked", [True, False])
def test_a_large_request_body_streams_to_the_function(web: HostProcess, chunked: bool) -> None:
    body = bytes(range(256)) * 20_000
    pieces = (body[start : start + 100_000] for start in range(0, len(body), 100_000))
    answer = web.http.post("/digest", content=pieces if chunked else body)
    assert answer.json() == {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}


def test_a_large_response_arrives_whole_even_when_others_are_served_meanwhile(web: HostProcess) -> None:
    expected = hashlib.sha256(b"".join(bytes([index]) * 100_000 for index in range(200))).hexdigest()
    seen = hashlib.sha256()
    with web.http.stream("GET", "/large") as answer:
        for number, piece in enumerate(answer.iter_raw(65_536)):
            seen.update(piece)
            if number == 10:  # the rest waits for this reader; nobody else does
                assert web.http.get("/items/7").status_code == 200
    assert seen.hexdigest() == expected


def test_events_arrive_as_they_are_sent_and_a_disconnect_ends_the_stream(
    web: HostProcess,
) -> None:
    with web.http.stream("GET", "/events") as events, web.http.stream("GET", "/inner/stream") as inner:
        lines, inner_lines = events.iter_lines(), inner.iter_lines()
        assert next(lines) == "data: first"  # the second cannot have been sent: nothing released it
        assert next(inner_lines) == "one"  # the same through a whole FastAPI app behind a catch-all route
        web.http.post("/release")
        assert next(line for line in lines if line) == "data: second"
        assert next(inner_lines) == "two"
    until(lambda: web.http.get("/gone").json() == ["events"], "the end of the stream's generator")


def test_a_whole_fastapi_app_is_served_behind_a_catch_all_route(web: HostProcess) -> None:
    assert web.http.get("/inner/hello").json() == {"hello": "from inside"}
    assert web.http.get("/inner/unknown").json() == {"detail": "Not Found"}
    assert web.http.get("/").status_code == 404


def test_a_function_that_raises_is_500_and_its_line_names_the_exception(web: HostProcess) -> None:
    answer = web.http.get("/raise")
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    web.wait_for_log("LookupError: nothing here")
    line = next(line for line in web.log.splitlines() if "LookupError" in line)
    found = re.fullmatch(
        r"\S+ http +raising GET /raise ([0-9a-f]{8}) failed \d+ ms: LookupError: nothing here", line
    )
    assert found, line
    assert f"warning  {found[1]} root: about to fail" in web.log
    assert "Traceback" not in web.log


def test_exceptions_that_cannot_be_printed_or_encoded_are_reported_all_the_same(web: HostProcess) -> None:
    assert web.http.get("/unprintable").status_code == 500
    web.wait_for_log("UnprintableError: <the exception's __str__ failed>")
    assert web.http.get("/surrogate").status_code == 500
    web.wait_for_log("ValueError: half a character: ?")


def test_escapes_in_the_path_that_are_not_text_do_no_harm(web: HostProcess) -> None:
    assert web.http.get("/items/%C3%A9").json() == "named é"
    assert web.http.get("/items/%FF").json() == "named \ufffd"


def test_a_response_that_breaks_off_does_not_look_complete(web: HostProcess) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        web.http.get("/broken")
    web.wait_for_log("OSError: the source dried up")


def test_sync_functions_run_side_by_side(web: HostProcess) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: httpx.get(f"{web.url}/together", timeout=20).text, range(8)))
    assert answers == ['"all here"'] * 8


def test_sys_exit_in_a_function_fails_it_and_nothing_else(web: HostProcess) -> None:
    pid = web.status()["workerPid"]
    assert web.http.get("/exit").status_code == 500
    web.wait_for_log("FunctionExitedError: the function called sys.exit(3)")
    assert web.status()["workerPid"] == pid


def test_an_async_function_over_functionTimeout_is_cancelled_and_its_worker_stays(web: HostProcess) -> None:
    pid = web.status()["workerPid"]
    answer = web.http.get("/endless")
    assert answer.status_code == 504
    web.wait_for_log("FunctionTimeout: the function did not finish within functionTimeout (2 s)")
    assert "endless" in web.http.get("/gone").json()
    assert web.status()["workerPid"] == pid


def test_a_blocked_function_over_functionTimeout_costs_its_worker(web: HostProcess) -> None:
    pid = web.status()["workerPid"]
    assert web.http.get("/stuck").status_code == 504
    web.wait_for_log("was killed by signal 9; restarting it")
    assert web.http.get("/items/7").status_code == 200
    assert web.status()["workerPid"] not in (pid, None)


def test_the_admin_routes_describe_the_host(web: HostProcess) -> None:
    status = web.status()
    assert status["state"] == "Running"
    assert status["processUptime"] > 0
    functions = {each["name"]: each for each in web.http.get("/admin/functions").json()}
    assert len(functions) == status["functionCount"]
    assert functions["item"]["config"]["bindings"][0]["route"] == "items/{id:int}/{part?}"
    assert web.http.post("/admin/host/status").status_code == 405


def test_an_output_is_sent_before_a_streamed_answer_and_its_queue_is_made_for_it(web: HostProcess) -> None:
    client = client_of(web)
    try:
        assert web.http.post("/emit", content="from a web app").status_code == 202
        assert client.wait_for("emitted", "from a web app").content_type == "text/plain"
        assert web.http.post("/emit", content="x" * 300_000).status_code == 500
        web.wait_for_log("OutputBindingError: binding 'out' could not send to 'emitted'")
    finally:
        client.close()
