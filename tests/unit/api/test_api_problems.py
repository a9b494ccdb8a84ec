import logging

import pytest
from api_server import INPUT, WORKFLOW, Api, problem_of
from starlette.requests import Request

from aos.api.problems import aos_problem
from aos.kernel import errors
from aos.kernel.errors import AosError
from aos.services.storage.ports import AlreadyExists, Stale

EXPECTED = {
    AosError: 500,
    errors.InvalidInput: 422,
    errors.InvalidDefinition: 422,
    errors.InvalidExpression: 422,
    errors.InvalidSetting: 500,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.PolicyDenied: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.IllegalTransition: 409,
    errors.BudgetExceeded: 402,
    errors.TooLarge: 413,
    errors.Unavailable: 503,
    errors.Integrity: 500,
    errors.ReadOnly: 503,
    AlreadyExists: 409,
    Stale: 409,
}
SECRET = "/srv/aos/storage.db is damaged"


def request() -> Request:
    return Request({"type": "http", "method": "GET", "path": "/api/runs", "headers": []})


def test_every_error_of_the_kernel_has_a_status_on_purpose():
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AosError)}
    assert kinds <= set(EXPECTED)


@pytest.mark.parametrize("kind", EXPECTED)
def test_an_error_is_answered_with_its_status_and_code(kind: type[AosError]):
    response = aos_problem(request(), kind("what happened", run="r"))
    assert response.status_code == EXPECTED[kind]
    assert f'"code": "{kind.code}"'.encode() in response.body
    if response.status_code < 500:
        assert b"what happened" in response.body
        assert b'"run": "r"' in response.body


def test_a_detail_never_takes_the_place_of_a_standard_member():
    response = aos_problem(request(), errors.Conflict("ended", status="completed", type="x", run="r"))
    assert b'"status": 409' in response.body
    assert b"completed" not in response.body


async def test_an_unexpected_error_tells_an_id_that_the_log_knows_and_nothing_else(
    api: Api, caplog: pytest.LogCaptureFixture
):
    api.directory.failure = RuntimeError(SECRET)
    with caplog.at_level(logging.ERROR, "aos.api"):
        response = await api.as_("viewer").get("/api/agents")
    problem = problem_of(response)
    assert response.status_code == 500
    assert problem["code"] == "internal"
    assert SECRET not in response.text
    assert problem["error_id"] in caplog.text
    assert SECRET in caplog.text


async def test_damaged_data_is_our_error_and_its_place_is_not_told(
    api: Api, caplog: pytest.LogCaptureFixture
):
    api.directory.failure = errors.Integrity(SECRET, path="/srv")
    response = await api.as_("viewer").get("/api/agents")
    problem = problem_of(response)
    assert (response.status_code, problem["code"]) == (500, "integrity")
    assert "/srv" not in response.text
    assert problem["error_id"] in caplog.text


async def test_what_cannot_be_reached_now_is_asked_to_be_tried_again(api: Api):
    api.directory.failure = errors.Unavailable("the engine at 10.0.0.7 does not answer")
    response = await api.as_("viewer").get("/api/agents")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert "10.0.0.7" not in response.text
    assert problem_of(response)["code"] == "unavailable"


async def test_a_service_without_storage_lives_but_is_not_ready(api: Api):
    await api.system.storage.close()
    assert (await api.as_(None).get("/health/live")).json() == {"status": "live"}
    response = await api.as_(None).get("/health/ready")
    assert response.status_code == 503
    assert str(api.data) not in response.text
    assert problem_of(response)["code"] == "unavailable"
    for method, path in (("GET", "/api/runs"), ("POST", f"/api/workflows/{WORKFLOW}/runs")):
        response = await api.as_("operator").request(method, path, json={"input": INPUT})
        assert response.status_code == 503


async def test_what_a_caller_sends_comes_back_harmless(api: Api):
    response = await api.as_("viewer").get("/api/runs/%3Cscript%3E%ED%A0%80")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    response.json()
