"""Classic HTTP functions through a host process, and the settings that they see."""

import json

import httpx
import pytest
from host_process import HostProcess


def test_a_classic_function_sees_the_whole_request_and_sets_the_response(
    classic: HostProcess,
) -> None:
    answer = classic.http.post("/api/echo/ann?q=1&q=2", content="héllo".encode(), headers={"x-thing": "it"})
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2; HttpOnly"]
    assert answer.json() == {
        "method": "POST",
        "url": f"{classic.url}/api/echo/ann?q=1&q=2",
        "name": "ann",
        "q": "1,2",
        "header": "it",
        "body": "héllo",
    }


def test_every_part_of_a_request_reaches_the_function_in_any_method(classic: HostProcess) -> None:
    answer = classic.http.post(
        "/api/whole/abc?a=1&a=2&empty=&c=%C3%A9",
        data={"x": ["1", "2"]},
        files={"document": ("d.txt", b"content")},
        headers=[("X-Mine-One", "1"), ("X-Mine-One", "2"), ("X-Mine-Empty", "")],
    )
    assert answer.json() == {
        "method": "POST",
        "route": {"kind": "abc", "number": "7"},
        "params": {"a": "1,2", "c": "é"},  # values that are empty are left out, as in Azure
        "headers": {"x-mine-one": "1,2"},
        "form": {"x": ["1", "2"]},
        "files": {"document": ["d.txt", "content"]},
        "function": ["whole", 36],
    }
    assert classic.http.request("PURGE", "/api/whole/abc/8").json()["method"] == "PURGE"
    assert classic.http.get("/api/whole/abc1").status_code == 404


@pytest.mark.parametrize(
    ("kind", "status", "content_type", "content"),
    [
        ("empty", 204, "text/plain; charset=utf-8", b""),
        ("bytes", 200, "application/octet-stream", b"\x00\xff"),
        ("latin", 200, "text/html; charset=iso-8859-1", b"gr\xfcn"),
        ("redirect", 307, "text/plain; charset=utf-8", b""),
        ("nothing", 500, "text/plain; charset=utf-8", b"Internal Server Error"),  # as with Azure's worker
    ],
)
def test_a_response_is_sent_as_the_function_made_it(
    kind: str, status: int, content_type: str, content: bytes, classic: HostProcess
) -> None:
    answer = classic.http.get(f"/api/reply/{kind}")
    assert (answer.status_code, answer.headers["content-type"]) == (status, content_type)
    assert answer.content == content


def test_each_cookie_has_a_header_of_its_own(classic: HostProcess) -> None:
    cookies = classic.http.get("/api/reply/cookies").headers.get_list("set-cookie")
    assert cookies == ["a=1; HttpOnly; Path=/; SameSite=Lax", "b=2; Max-Age=60; Secure"]


def test_head_has_the_headers_alone_and_the_connection_goes_on(classic: HostProcess) -> None:
    for _ in range(2):
        answer = classic.http.head("/api/reply/large")
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-length"] == "5000000"
    assert len(classic.http.get("/api/reply/large").content) == 5_000_000
    assert classic.http.options("/api/reply/any").text == "of no kind"
    assert classic.http.head("/api/text").status_code == 404  # it takes GET alone


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_may_be_as_large_as_the_app_setting_says(chunked: bool, classic: HostProcess) -> None:
    piece = b"x" * 100_000
    for pieces, status in ((60, 200), (61, 413)):
        content = (piece for _ in range(pieces)) if chunked else piece * pieces
        try:
            answer = classic.http.post("/api/size", content=content)
        except httpx.WriteError:
            assert status == 413  # it was closed before all was sent
            continue
        assert answer.status_code == status
    assert classic.http.post("/api/size", content=b"next").text == "4"


def test_a_returned_string_is_plain_text(classic: HostProcess) -> None:
    answer = classic.http.get("/api/text")
    assert (answer.text, answer.headers["content-type"]) == ("plain", "text/plain; charset=utf-8")


def test_a_classic_function_that_raises_is_500_and_verbose_shows_its_own_traceback(
    classic: HostProcess,
) -> None:
    before = len(classic.log)
    assert classic.http.get("/api/fails").status_code == 500
    classic.wait_for_log('raise ValueError("a classic failure")')
    log = classic.log[before:]
    assert log.count("Traceback (most recent call last)") == 1
    assert "native_invocation" not in log


def test_the_root_says_that_the_app_is_up(classic: HostProcess) -> None:
    assert classic.http.get("/").status_code == 200
    assert classic.http.get("/nothing").status_code == 404


def test_the_default_route_prefix_is_api(classic: HostProcess) -> None:
    assert classic.http.get("/text").status_code == 404


def test_local_settings_reach_the_worker_but_the_environment_wins(classic: HostProcess) -> None:
    assert classic.http.get("/api/setting").json() == {
        "GREETING": "from local settings",
        "OVERRIDDEN": "from the environment",
        "FLAG": "true",
        "EXTRA": "from the environment",
        "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
    }


def test_the_durable_client_makes_check_status_links_to_this_host(
    classic: HostProcess,
) -> None:
    answer = classic.http.get("/api/status")
    assert answer.status_code == 202
    assert answer.json()["statusQueryGetUri"].startswith(
        f"{classic.url}/runtime/webhooks/durabletask/instances/an-instance"
    )


def test_the_durable_client_as_a_string_is_its_configuration(classic: HostProcess) -> None:
    configuration = json.loads(classic.http.get("/api/raw").text)
    assert configuration["taskHubName"] == "FromEnvironment"
    assert not configuration["rpcBaseUrl"].endswith("/")


def test_a_function_disabled_by_a_setting_is_not_served(classic: HostProcess) -> None:
    assert classic.http.get("/api/switched_off").status_code == 404
    assert {each["name"] for each in classic.http.get("/admin/functions").json() if each["isDisabled"]} == {
        "switched_off"
    }
