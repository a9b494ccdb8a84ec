"""Two systems that share nothing but their storage, as two worker processes do."""

import asyncio
from pathlib import Path

from api_server import INPUT, WORKFLOW, open_api


async def test_one_key_is_one_run_whichever_process_is_asked(tmp_path: Path):
    async with open_api(tmp_path) as one, open_api(tmp_path) as other:
        requests = [
            api.as_("operator").post(
                f"/api/workflows/{WORKFLOW}/runs", json={"input": INPUT}, headers={"Idempotency-Key": "k"}
            )
            for api in [one, other] * 10
        ]
        responses = await asyncio.gather(*requests)
        assert sorted(response.status_code for response in responses) == [200] * 19 + [202]
        assert len({response.json()["id"] for response in responses}) == 1
        assert len(one.orchestrations.started + other.orchestrations.started) == 1


async def test_a_run_is_followed_in_one_process_while_another_works_on_it(tmp_path: Path):
    async with open_api(tmp_path) as one, open_api(tmp_path) as other:
        run = await one.start()
        await one.begin(run)
        async with other.as_("viewer").stream("GET", f"/api/runs/{run}/events") as response:
            chunks = response.aiter_bytes()
            assert (await anext(chunks)).startswith(b"id: 0\nevent: run.started\n")
            await one.end(run)
            assert (await anext(chunks)).startswith(b"id: 1\nevent: run.ended\n")
        assert (await other.show(run))["status"] == "completed"


async def test_a_key_made_in_one_process_opens_the_other(tmp_path: Path):
    async with open_api(tmp_path) as one, open_api(tmp_path) as other:
        headers = {"Authorization": f"Bearer {one.keys['viewer']}"}
        assert (await other.as_(None).get("/api/runs", headers=headers)).status_code == 200
