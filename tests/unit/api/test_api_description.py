from typing import Any

import pytest
from api_server import Api
from openapi_spec_validator import validate

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def api(shared_api: Api) -> Api:
    return shared_api


async def described(api: Api) -> dict[str, Any]:
    response = await api.as_(None).get("/openapi.json")
    found: dict[str, Any] = response.json()
    return found


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


async def test_the_description_is_valid_openapi_3_1(api: Api):
    document = await described(api)
    assert document["openapi"].startswith("3.1.")
    validate(document)


async def test_every_operation_under_api_asks_for_the_key_and_no_other_does(api: Api):
    document = await described(api)
    assert document["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    for name, operation in operations(document):
        assert operation.get("security", []) == ([{"apiKey": []}] if " /api/" in name else []), name


async def test_every_problem_is_described_as_one(api: Api):
    for name, operation in operations(await described(api)):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"], (name, status)
        if " /api/" in name:
            assert {"401", "403", "500", "503"} <= set(operation["responses"]), name
        if name.startswith("POST"):
            assert {"400", "409", "413", "415", "422"} <= set(operation["responses"]), name
            assert operation["requestBody"]["required"]


async def test_the_page_for_people_takes_nothing_from_elsewhere(api: Api):
    client = api.as_(None)
    page = (await client.get("/docs")).text
    assert "//" not in page.replace("<!doctype html>", "")
    for path in ("/docs/assets/swagger-ui-bundle.js", "/docs/assets/swagger-ui.css", "/docs/start.js"):
        assert path in page
        assert (await client.get(path)).status_code == 200
    assert "default-src 'none'" in (await client.get("/docs")).headers["content-security-policy"]
    assert "/openapi.json" in (await client.get("/docs/start.js")).text


async def test_the_root_leads_to_the_page(api: Api):
    response = await api.as_(None).get("/")
    assert (response.status_code, response.headers["location"]) == (307, "/docs")


async def test_only_the_pages_own_files_are_served(api: Api):
    client = api.as_(None)
    for path in ("/docs/assets/__init__.py", "/docs/assets/..%2fmain.py", "/docs/assets/%2e%2e/main.py"):
        assert (await client.get(path)).status_code == 404, path
