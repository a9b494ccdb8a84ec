import asyncio
from collections.abc import AsyncIterator

import pytest
from api_server import INPUT, WORKFLOW, Api, problem_of

from aos.api.body import parse_json
from aos.api.problems import MalformedBody

START = f"/api/workflows/{WORKFLOW}/runs"
JSON = {"Content-Type": "application/json"}
HASH = "0" * 64


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def api(shared_api: Api) -> Api:
    return shared_api


async def refused(
    api: Api, status: int, path: str, content: bytes | AsyncIterator[bytes], **headers: str
) -> dict[str, object]:
    """Post what must be refused, and see that nothing changed."""
    before = api.fingerprint()
    response = await api.as_("operator").post(path, content=content, headers={**JSON, **headers})
    assert response.status_code == status, response.text
    assert api.fingerprint() == before
    return problem_of(response)


MALFORMED = {
    "nothing": b"",
    "a torn object": b'{"input": {}',
    "text after the value": b"{}{}",
    "NaN": b'{"input": {"n": NaN}}',
    "an infinity": b'{"input": {"n": -Infinity}}',
    "a number that overflows": b'{"input": {"n": 1e999}}',
    "a number of too many digits": b'{"input": {"n": ' + b"9" * 5000 + b"}}",
    "a name twice": b'{"input": {}, "input": {"a": 1}}',
    "a name twice, deep inside": b'{"input": {"a": [{"b": 1, "b": 2}]}}',
    "invalid UTF-8": b'{"input": {"a": "\xff"}}',
    "half a surrogate pair": b'{"input": {"a": "\\ud800"}}',
    "half a surrogate pair in a name": b'{"input": {"\\udfff": 1}}',
    "a byte order mark": b'\xef\xbb\xbf{"input": {}}',
    "too deep": b'{"input": ' + b"[" * 100 + b"]" * 100 + b"}",
    "far too deep": b"[" * 400_000,
    "far too deep objects": b'{"a":' * 80_000,
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_is_not_clean_json_is_refused(api: Api, name: str):
    problem = await refused(api, 400, START, MALFORMED[name])
    assert problem["code"] == "malformed_body"


@pytest.mark.parametrize(
    ("body", "at"),
    [
        (b"[]", ""),
        (b"null", ""),
        (b"{}", "/input"),
        (b'{"input": []}', "/input"),
        (b'{"input": "{}"}', "/input"),
        (b'{"input": {}, "extra": 1}', "/extra"),
        (b'{"input": {}, "a/b~c": 1}', "/a~1b~0c"),
        (b'{"input": {}, "budget_usd": "1"}', "/budget_usd"),
        (b'{"input": {}, "budget_usd": true}', "/budget_usd"),
        (b'{"input": {}, "budget_usd": 0}', "/budget_usd"),
        (b'{"input": {}, "budget_usd": -1}', "/budget_usd"),
        (b'{"input": {}, "budget_usd": 1e300}', "/budget_usd"),
    ],
)
async def test_a_body_of_the_wrong_shape_is_told_where(api: Api, body: bytes, at: str):
    problem = await refused(api, 422, START, body)
    assert problem["code"] == "invalid_input"
    assert [(found["in"], found["at"]) for found in problem["problems"]] == [("body", at)]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/runs/x/cancel", b'{"reason": 1}'),
        ("/api/runs/x/cancel", b'{"reason": " \\n"}'),
        ("/api/runs/x/cancel", b"{}"),
        (
            "/api/runs/x/approvals/board",
            b'{"approve": 1, "reason": "r", "action_hash": "%s"}' % HASH.encode(),
        ),
        ("/api/runs/x/approvals/board", b'{"approve": true, "reason": "r", "action_hash": "abc"}'),
        ("/api/runs/x/effects/e/resolution", b'{"happened": "yes", "reason": "r"}'),
        ("/api/runs/x/effects/e/resolution", b'{"happened": true}'),
    ],
)
async def test_every_body_is_checked(api: Api, path: str, body: bytes):
    assert (await refused(api, 422, path, body))["code"] == "invalid_input"


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        (START, b"[]", "Input should be an object"),
        (START, b'{"input": 1}', "Input should be an object"),
        ("/api/runs/x/cancel", b'{"reason": " "}', "Input should not be blank"),
    ],
)
async def test_what_is_wrong_is_said_in_words_of_json(api: Api, path: str, body: bytes, message: str):
    assert (await refused(api, 422, path, body))["problems"][0]["message"] == message


async def test_an_input_that_does_not_fit_the_workflow_is_told_where(api: Api):
    response = await api.as_("operator").post(START, json={"input": INPUT | {"cash_flows": [1, "two"]}})
    assert response.status_code == 422
    assert [found["at"] for found in problem_of(response)["problems"]] == ["/cash_flows/0", "/cash_flows/1"]


async def test_an_unknown_workflow_is_not_found(api: Api):
    problem = await refused(api, 404, "/api/workflows/nope/runs", b'{"input": {}}')
    assert problem["workflow"] == "nope"
    assert WORKFLOW in str(problem["detail"])


async def test_a_body_of_10_mb_is_refused_by_its_announced_length(api: Api):
    problem = await refused(api, 413, START, b" " * 10_000_000)
    assert problem["code"] == "too_large"
    assert problem["limit"] == 512 * 1024


async def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large(api: Api):
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 200_000_000:
            sent += 65_536
            yield b" " * 65_536

    problem = await refused(api, 413, START, endless())
    assert problem["code"] == "too_large"


async def test_a_body_of_just_the_limit_is_read(api: Api):
    body = b'{"input": {}}'
    problem = await refused(api, 422, START, body + b" " * (512 * 1024 - len(body)))
    assert problem["code"] == "invalid_input"
    assert (await refused(api, 413, START, body + b" " * (512 * 1024 - len(body) + 1)))["code"] == "too_large"


@pytest.mark.parametrize(
    "given", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "json"]
)
async def test_another_content_type_is_refused(api: Api, given: str):
    problem = await refused(api, 415, START, b'{"input": {}}', **{"Content-Type": given})
    assert problem["code"] == "unsupported_media_type"


async def test_no_content_type_is_refused(api: Api):
    response = await api.as_("operator").post(START, content=b'{"input": {}}')
    assert response.status_code == 415


@pytest.mark.parametrize("given", ["application/json;charset=UTF-8", 'Application/JSON; charset="utf-8"'])
async def test_json_may_name_its_charset(api: Api, given: str):
    await refused(api, 422, START, b"{}", **{"Content-Type": given})


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb", "caf\u00e9".encode("latin-1")])
async def test_an_idempotency_key_must_be_printable(api: Api, key: str | bytes):
    before = api.fingerprint()
    headers = [("Idempotency-Key", key)]
    response = await api.as_("operator").post(START, json={"input": INPUT}, headers=headers)
    assert response.status_code == 422
    assert problem_of(response)["problems"][0]["in"] == "header"
    assert api.fingerprint() == before


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", "status=sleeping", "after=x", "after=" + "Z" * 32, "limit=1.5"],
)
async def test_a_listing_is_refused_for_a_bad_query(api: Api, query: str):
    response = await api.as_("viewer").get(f"/api/runs?{query}")
    assert response.status_code == 422
    problem = problem_of(response)
    assert problem["problems"][0]["in"] == "query"
    assert problem["problems"][0]["at"] == "/" + query.split("=", maxsplit=1)[0]


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30])
async def test_a_last_event_id_must_be_one_of_ours(api: Api, last: str):
    run = await api.start()
    response = await api.as_("viewer").get(f"/api/runs/{run}/events", headers={"Last-Event-ID": last})
    assert response.status_code == 422
    assert problem_of(response)["problems"][0]["in"] == "header"


@pytest.mark.parametrize("run", ["x", "0" * 32, "..%2f..", "%00", "é", "0" * 2000])
@pytest.mark.parametrize("tail", ["", "/events", "/dossier"])
async def test_an_unknown_run_is_not_found(api: Api, run: str, tail: str):
    response = await api.as_("viewer").get(f"/api/runs/{run}{tail}")
    assert response.status_code == 404
    assert problem_of(response)["code"] == "not_found"


async def test_an_unknown_path_is_a_problem(api: Api):
    response = await api.as_(None).get("/nothing/here")
    assert response.status_code == 404
    assert problem_of(response)["code"] == "not_found"


async def test_another_method_is_a_problem_that_names_the_right_ones(api: Api):
    response = await api.as_("operator").delete("/api/runs")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET"
    assert problem_of(response)["code"] == "method_not_allowed"


async def test_a_client_that_goes_away_while_it_sends_is_no_error(api: Api, caplog: pytest.LogCaptureFixture):
    before = api.fingerprint()
    head = (
        f"POST {START} HTTP/1.1\r\nHost: aos\r\nAuthorization: Bearer {api.keys['operator']}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
    )
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode())
    begun = await asyncio.wait_for(reader.readline(), 10)
    assert begun == b"HTTP/1.1 100 Continue\r\n"  # the server says so when the body is waited for
    writer.write(b'{"input": ')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    for _ in range(3):
        assert (await api.as_(None).get("/health/ready")).status_code == 200
    assert api.fingerprint() == before
    assert caplog.records == []


async def test_a_name_that_stands_twice_among_very_many_is_found():
    names = ",".join(f'"{number}":0' for number in range(50_000))
    with pytest.raises(MalformedBody) as refused:
        parse_json(f'{{{names},"49999":1}}'.encode())
    assert refused.value.details == {"name": "49999"}
