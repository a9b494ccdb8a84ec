"""Classic HTTP functions through a host process, and the settings that they see."""

import json

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


def test_a_returned_string_is_plain_text(classic: HostProcess) -> None:
    answer = classic.http.get("/api/text")
    assert (answer.text, answer.headers["content-type"]) == ("plain", "text/plain; charset=utf-8")


def test_a_classic_function_that_raises_is_500_and_verbose_shows_its_own_traceback(
    classic: HostProcess,
) -> None:
    assert classic.http.get("/api/fails").status_code == 500
    classic.wait_for_log('raise ValueError("a classic failure")')
    assert classic.log.count("Traceback (most recent call last)") == 1
    assert "native_invocation" not in classic.log


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
