"""Bearer tokens of a directory, beside API keys: every route, every role, every fault."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio
from api_server import Api, open_api, problem_of
from entra_directory import AUDIENCE, OBJECT, TENANT, Directory, faults
from test_api_access import ALLOWED, ANYBODY, PUBLIC, ask
from tls_server import serving_tls

from aos.kernel.errors import ReadOnly

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOWHERE = {"run_id": "none", "step": "none", "effect": "none", "name": "none"}


class MovedClock:
    """The real time, and ``ahead_s`` more."""

    ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@dataclass
class Trusting:
    """An API that trusts a directory."""

    api: Api
    directory: Directory
    faults: dict[str, dict[str, str]]
    clock: MovedClock
    client: httpx.AsyncClient
    """Without the look at the description that the API's own clients take: it costs more than the request."""

    async def request(self, token: str, method: str, path: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return await self.client.request(method, path.format(**NOWHERE), headers=headers)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trusting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trusting]:
    directory = Directory()
    async with serving_tls(directory.app, tmp_path_factory.mktemp("tls")) as server:
        directory.authority = server.url
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = str(server.certificate)
        try:
            settings = {"auth_tenant_id": TENANT, "auth_audience": AUDIENCE, "auth_authority": server.url}
            wrong, clock = {role: faults(directory, role) for role in ANYBODY}, MovedClock()
            async with (
                open_api(tmp_path_factory.mktemp("data"), clock, **settings) as api,
                httpx.AsyncClient(base_url=api.url, timeout=20) as client,
            ):
                yield Trusting(api, directory, wrong, clock, client)
        finally:
            del os.environ["SSL_CERT_FILE"]
            if before is not None:
                os.environ["SSL_CERT_FILE"] = before


@pytest.mark.parametrize(("method", "path"), ALLOWED)
async def test_every_route_refuses_every_fault_of_a_token_for_every_role(
    trusting: Trusting, method: str, path: str
):
    before = trusting.api.fingerprint()
    for role in sorted(ANYBODY):
        for fault, token in trusting.faults[role].items():
            response = await trusting.request(token, method, path)
            assert response.status_code == 401, fault
            problem = problem_of(response)
            assert problem["code"] == "unauthenticated"
            assert token[-20:] not in response.text or len(token) < 20
            assert response.headers["www-authenticate"].startswith("Bearer")
    assert trusting.api.fingerprint() == before, "a refused request changed something"


@pytest.mark.parametrize(("method", "path"), ALLOWED)
async def test_every_route_answers_exactly_the_app_roles_that_it_is_for(
    trusting: Trusting, method: str, path: str
):
    for role in sorted(ANYBODY):
        who = f"token {role}"
        trusting.api.keys[who] = trusting.directory.token(role)
        status = await ask(trusting.api, who, method, path)
        assert status in ((200, 202) if role in ALLOWED[method, path] else (403,)), role


@pytest.mark.parametrize("path", sorted(PUBLIC))
async def test_public_routes_ask_nothing_of_a_token(trusting: Trusting, path: str):
    path = path.replace("{name}", "swagger-ui.css")
    token = trusting.faults["operator"]["expired"]
    assert (await trusting.request(token, "GET", path)).status_code in (200, 307)


async def test_api_keys_open_the_same_routes_as_before(trusting: Trusting):
    assert (await trusting.api.as_("viewer").get("/api/runs")).status_code == 200
    assert (await trusting.api.as_("wrong").get("/api/runs")).status_code == 401


async def test_an_approval_by_token_names_the_person(trusting: Trusting):
    api = trusting.api
    run = await api.start()
    await api.begin(run)
    asked = await api.ask(run, role="board")
    body = {"approve": True, "reason": "fine", "action_hash": asked.approval.action_hash}
    headers = {"Authorization": f"Bearer {trusting.directory.token('board')}"}
    response = await api.as_(None).post(f"/api/runs/{run}/approvals/board", json=body, headers=headers)
    assert response.status_code in (200, 202), response.text
    decided = await api.system.approvals.get(run, "board")
    assert decided.approval.actor == f"user:ada@contoso.example ({OBJECT})"


async def test_a_key_that_the_directory_rotated_opens_nothing_any_more(trusting: Trusting):
    stale = trusting.directory.token("viewer")
    assert (await trusting.request(stale, "GET", "/api/runs")).status_code == 200
    trusting.directory.rotate("k2")
    trusting.clock.ahead_s = 61.0
    assert (await trusting.request(trusting.directory.token("viewer"), "GET", "/api/runs")).status_code == 200
    for method, path in ALLOWED:
        assert (await trusting.request(stale, method, path)).status_code == 401


async def test_without_a_directory_a_token_is_no_key(
    trusting: Trusting, tmp_path_factory: pytest.TempPathFactory
):
    async with open_api(tmp_path_factory.mktemp("untrusting")) as api:
        headers = {"Authorization": f"Bearer {trusting.directory.token('operator')}"}
        assert (await api.as_(None).get("/api/runs", headers=headers)).status_code == 401


async def test_a_standby_reads_and_refuses_every_change_by_name(tmp_path_factory: pytest.TempPathFactory):
    async with open_api(tmp_path_factory.mktemp("standby"), read_only=True) as api:
        before = api.fingerprint()
        for method, path in ALLOWED:
            response = await api.as_("operator").request(method, path.format(**NOWHERE), json={})
            if method == "GET":
                assert response.status_code in (200, 404), path
            else:
                assert response.status_code == 503
                assert problem_of(response)["code"] == "read_only"
                assert (await api.as_(None).request(method, path.format(**NOWHERE))).status_code == 401
        assert (await api.as_(None).get("/health/ready")).status_code == 200
        storage = api.system.storage
        for write in (
            storage.rows.insert("runs", "p", "k", {}),
            storage.blobs.put("values", "o", b"x"),
            storage.logs.append("log", 0, b"x"),
            api.system.keys.create("name", ["viewer"], "default"),
            api.system.doorbells.remember("run", "start"),
        ):
            with pytest.raises(ReadOnly):
                await write
        assert api.fingerprint() == before
