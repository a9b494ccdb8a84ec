import pytest
from api_server import INPUT, WORKFLOW, Api, problem_of
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Route

from aos.api.access import authenticated

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def api(shared_api: Api) -> Api:
    return shared_api


PUBLIC = {
    "/",
    "/docs",
    "/docs/start.js",
    "/docs/assets/{name}",
    "/openapi.json",
    "/health/live",
    "/health/ready",
}
READERS = {"viewer", "operator", "approver"}
ANYBODY = {"viewer", "operator", "approver", "board"}
ALLOWED = {
    ("GET", "/api/workflows"): READERS,
    ("GET", "/api/workflows/{name}"): READERS,
    ("POST", "/api/workflows/{name}/runs"): {"operator"},
    ("GET", "/api/runs"): READERS,
    ("GET", "/api/runs/{run_id}"): READERS,
    ("POST", "/api/runs/{run_id}/cancel"): {"operator"},
    ("GET", "/api/runs/{run_id}/events"): READERS,
    ("POST", "/api/runs/{run_id}/approvals/{step}"): {"board"},  # the role that the approval asks for
    ("POST", "/api/runs/{run_id}/effects/{effect}/resolution"): {"operator"},
    ("GET", "/api/runs/{run_id}/dossier"): READERS,
    ("GET", "/api/agents"): READERS,
    ("GET", "/api/audit/key"): READERS,
}

CHALLENGE = {
    (False, 401): 'Bearer realm="aos"',
    (True, 401): 'Bearer realm="aos", error="invalid_token"',
    (True, 403): 'Bearer realm="aos", error="insufficient_scope"',
}
"""As RFC 6750 has it: by whether a key came with the request, and by the answer."""


def routes_of(api: Api) -> list[tuple[str, str]]:
    """Every method and path that the app answers; a kind of route that is not known here fails."""
    found = []
    for context in iter_route_contexts(api.app.routes):
        if isinstance(context.route, Route | APIRoute):
            found += [(method, context.path) for method in context.methods or () if method != "HEAD"]
        else:
            raise TypeError(f"{context.route!r}: say here how it is guarded")
    return found


async def prepared(api: Api) -> dict[str, str]:
    """A run that can be decided, resolved, cancelled and shown; the dossier is another's."""
    run = await api.start()
    await api.begin(run)
    await api.ask(run, role="board")
    effect = await api.lose(run)
    return {"run_id": run, "step": "board", "effect": effect, "name": WORKFLOW}


async def body_for(api: Api, path: str, run: str) -> dict[str, object] | None:
    if path.endswith("/runs"):
        return {"input": INPUT}
    if path.endswith("/cancel"):
        return {"reason": "enough"}
    if path.endswith("/approvals/{step}"):
        asked = await api.system.approvals.get(run, "board")
        return {"approve": True, "reason": "fine", "action_hash": asked.approval.action_hash}
    if path.endswith("/resolution"):
        return {"happened": True, "reason": "seen"}
    return None


async def ask(api: Api, who: str | None, method: str, path: str) -> int:
    values = await prepared(api)
    body = await body_for(api, path, values["run_id"])
    if path.endswith(("/events", "/dossier")):
        await api.end(values["run_id"])
    before = api.fingerprint()
    response = await api.as_(who).request(method, path.format(**values), json=body)
    if response.status_code in (401, 403):
        assert api.fingerprint() == before, "a refused request changed something"
        assert response.headers["www-authenticate"] == CHALLENGE[who is not None, response.status_code]
    return response.status_code


async def test_every_route_is_public_on_purpose_or_has_its_row_here(api: Api):
    guarded = {route for route in routes_of(api) if route[1] not in PUBLIC}
    assert guarded == set(ALLOWED)
    assert {path for _, path in routes_of(api)} >= PUBLIC


async def test_what_lies_under_api_is_guarded_by_its_prefix_whatever_a_router_says(api: Api):
    for context in iter_route_contexts(api.app.routes):
        if context.path not in PUBLIC:
            guards = [dependency.call for dependency in context.dependant.dependencies]
            assert authenticated in guards, context.path


@pytest.mark.parametrize(("method", "path"), ALLOWED)
async def test_every_route_refuses_who_has_no_valid_key(api: Api, method: str, path: str):
    for who in (None, "wrong", "garbage", "revoked"):
        assert await ask(api, who, method, path) == 401, who
    assert await ask(api, "stranger", method, path) == 403


@pytest.mark.parametrize(("method", "path"), ALLOWED)
async def test_every_route_answers_exactly_the_roles_that_it_is_for(api: Api, method: str, path: str):
    for who in sorted(ANYBODY):
        status = await ask(api, who, method, path)
        assert status in ((200, 202) if who in ALLOWED[method, path] else (403,)), who


@pytest.mark.parametrize("path", sorted(PUBLIC))
async def test_public_routes_answer_without_a_key(api: Api, path: str):
    response = await api.as_(None).get(path.format(name="swagger-ui.css"))
    assert response.status_code in (200, 307)


@pytest.mark.parametrize("scheme", ["Basic", "Token", ""])
async def test_a_key_in_another_scheme_is_no_key(api: Api, scheme: str):
    headers = {"Authorization": f"{scheme} {api.keys['operator']}".strip()}
    response = await api.as_(None).get("/api/runs", headers=headers)
    assert response.status_code == 401
    assert problem_of(response)["code"] == "unauthenticated"
    assert response.headers["www-authenticate"] == CHALLENGE[False, 401]


async def test_an_unauthorised_caller_is_refused_before_the_body_is_read(api: Api):
    path = f"/api/workflows/{WORKFLOW}/runs"
    for who, status in ((None, 401), ("viewer", 403)):
        response = await api.as_(who).post(path, content=b"{" * 5_000_000)
        assert response.status_code == status


async def test_a_refusal_by_policy_names_the_role_or_the_policy(api: Api):
    response = await api.as_("viewer").post("/api/runs/x/cancel", json={"reason": "r"})
    assert problem_of(response)["role"] == "operator"
    values = await prepared(api)
    body = await body_for(api, "/approvals/{step}", values["run_id"])
    response = await api.as_("approver").post(f"/api/runs/{values['run_id']}/approvals/board", json=body)
    assert problem_of(response)["code"] == "policy_denied"
