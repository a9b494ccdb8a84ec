import asyncio

import pytest
from api_server import INPUT, WORKFLOW, Api, problem_of

from aos.kernel.errors import AosError
from aos.kernel.governance.audit.dossier import verify_dossier
from aos.kernel.governance.audit.records import FactType
from aos.sdk import AosClient
from aos.services.runs.run import RunStatus

START = f"/api/workflows/{WORKFLOW}/runs"


async def test_a_run_is_accepted_and_started_once(api: Api):
    response = await api.as_("operator").post(START, json={"input": INPUT, "budget_usd": 1.5})
    assert response.status_code == 202
    run = response.json()
    assert response.headers["location"] == f"/api/runs/{run['id']}"
    assert (run["status"], run["workflow"], run["created_by"]) == (
        "accepted",
        WORKFLOW,
        api.actor("operator"),
    )
    assert (run["budget_usd"], run["cost_usd"], run["input"], run["output"]) == (1.5, 0.0, INPUT, None)
    assert api.orchestrations.started == [run["id"]]
    assert await api.show(run["id"]) == run


async def test_the_same_key_and_request_is_the_same_run(api: Api):
    headers = {"Idempotency-Key": "order 66"}
    first = await api.as_("operator").post(START, json={"input": INPUT}, headers=headers)
    again = await api.as_("operator").post(START, json={"input": INPUT}, headers=headers)
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json() == again.json()
    assert first.headers["location"] == again.headers["location"]
    assert len(api.orchestrations.started) == 1


async def test_the_same_key_with_another_request_is_a_conflict_and_changes_nothing(api: Api):
    headers = {"Idempotency-Key": "k"}
    first = await api.as_("operator").post(START, json={"input": INPUT}, headers=headers)
    before = api.fingerprint()
    for body in ({"input": INPUT | {"title": "Another"}}, {"input": INPUT, "budget_usd": 1}):
        response = await api.as_("operator").post(START, json=body, headers=headers)
        assert response.status_code == 409
        assert problem_of(response)["run"] == first.json()["id"]
    assert api.fingerprint() == before


async def test_twenty_requests_at_once_with_one_key_are_one_run(api: Api):
    client = api.as_("operator")
    headers = {"Idempotency-Key": "once"}
    responses = await asyncio.gather(
        *(client.post(START, json={"input": INPUT}, headers=headers) for _ in range(20))
    )
    assert sorted(response.status_code for response in responses) == [200] * 19 + [202]
    assert len({response.json()["id"] for response in responses}) == 1
    assert len(api.orchestrations.started) == 1
    assert len((await client.get("/api/runs")).json()["runs"]) == 1


async def test_a_large_input_is_kept_and_shown(api: Api):
    components = [{"name": f"{n} {'x' * 70}", "novelty": 0.5, "effort_weeks": 1} for n in range(200)]
    parts = [dict(part, depends_on=["y" * 400]) for part in components]
    run = await api.start(components=parts)
    assert (await api.show(run))["input"]["components"] == parts


async def test_runs_are_listed_in_pages_newest_first(api: Api):
    runs = []
    for _ in range(5):
        runs.append(await api.start())
        await asyncio.sleep(0.002)  # ids are ordered by the millisecond
    seen, after = [], None
    while True:
        params = {"limit": 2} | ({"after": after} if after else {})
        page = (await api.as_("viewer").get("/api/runs", params=params)).json()
        seen += [run["id"] for run in page["runs"]]
        after = page["next"]
        if after is None:
            break
    assert seen == runs[::-1]
    assert "steps" not in page["runs"][0]


async def test_runs_are_listed_by_the_status_that_they_are_shown_with(api: Api):
    accepted, running, asking, lost, done = [await api.start() for _ in range(5)]
    for run in (running, asking, lost, done):
        await api.begin(run)
    await api.ask(asking)
    await api.lose(lost)
    await api.end(done)
    for status, expected in {
        "accepted": {accepted},
        "running": {running},
        "waiting": {asking, lost},
        "completed": {done},
        "failed": set(),
    }.items():
        page = (await api.as_("viewer").get("/api/runs", params={"status": status, "limit": 1})).json()
        found = page["runs"]
        while page["next"]:
            params = {"status": status, "limit": 1, "after": page["next"]}
            page = (await api.as_("viewer").get("/api/runs", params=params)).json()
            found += page["runs"]
        assert {run["id"] for run in found} == expected, status
        assert {run["status"] for run in found} <= {status}
    for run in (accepted, running, asking, lost, done):
        listed = (await api.as_("viewer").get("/api/runs")).json()["runs"]
        shown = await api.show(run)
        assert next(item for item in listed if item["id"] == run).items() <= shown.items()


async def test_a_run_shows_how_its_steps_are_and_what_they_cost(api: Api):
    run = await api.start()
    await api.begin(run)
    await api.record(run, FactType.STEP_SCHEDULED, step="finance", attempt=1)
    cost = {"cost_micro_usd": 1500, "input_tokens": 100, "output_tokens": 20}
    await api.record(run, FactType.STEP_COMPLETED, cost, step="finance", attempt=1)
    await api.record(run, FactType.STEP_SCHEDULED, {"kind": "approval"}, step="board")
    asked = await api.ask(run)
    await api.record(run, FactType.APPROVAL_REQUESTED, step="board")
    await api.lose(run)
    shown = await api.show(run)
    assert (shown["status"], shown["cost_usd"], shown["input_tokens"]) == ("waiting", 0.0015, 100)
    steps = {step["id"]: step for step in shown["steps"]}
    assert steps["finance"]["state"] == "completed"
    assert (steps["finance"]["agent"], steps["finance"]["cost_usd"]) == ("cfo", 0.0015)
    assert steps["board"]["state"] == "awaiting_approval"
    assert steps["launch"]["state"] == "waiting"
    assert steps["decide"]["needs"] == ["finance", "technology"]
    [approval] = shown["approvals"]
    assert approval["action_hash"] == asked.approval.action_hash
    assert (approval["state"], approval["action"]["name"]) == ("requested", "reserve_funds")
    [effect] = shown["effects"]
    assert (effect["state"], effect["kind"], effect["note"]) == ("unknown", "once", "the connection broke")
    assert shown["log_size"] == 5


async def test_a_run_that_ended_has_its_row_s_cost_and_its_compensations(api: Api):
    run = await api.start()
    await api.begin(run)
    await api.record(run, FactType.STEP_SCHEDULED, step="reserve", attempt=1)
    await api.record(run, FactType.STEP_COMPLETED, step="reserve", attempt=1)
    await api.record(run, FactType.COMPENSATION_STARTED, step="reserve", attempt=1)
    await api.record(run, FactType.COMPENSATION_COMPLETED, step="reserve", attempt=1)
    await api.end(run, RunStatus.FAILED, reason="step launch: no", cost_micro_usd=7, output_tokens=3)
    shown = await api.show(run)
    assert (shown["status"], shown["reason"], shown["cost_usd"]) == ("failed", "step launch: no", 7e-6)
    [undone] = shown["compensations"]
    assert (undone["step"], undone["tool"], undone["state"]) == ("reserve", "release_funds", "completed")
    assert shown["ended_at"] is not None
    assert {step["state"] for step in shown["steps"]} == {"completed", "cancelled"}


async def test_cancelling_writes_the_wish_down_and_rings(api: Api):
    run = await api.start()
    response = await api.as_("operator").post(f"/api/runs/{run}/cancel", json={"reason": "enough"})
    assert response.status_code == 202
    assert (await api.system.runs.get(run)).cancel == {"actor": api.actor("operator"), "reason": "enough"}
    assert api.orchestrations.raised == [(run, "doorbell", {"kind": "cancel", "step": None})]


async def test_a_run_that_ended_cannot_be_cancelled(api: Api):
    run = await api.start()
    await api.end(run)
    before = api.fingerprint()
    response = await api.as_("operator").post(f"/api/runs/{run}/cancel", json={"reason": "enough"})
    assert response.status_code == 409
    assert "completed" in problem_of(response)["detail"]
    assert api.fingerprint() == before


@pytest.mark.parametrize(("approve", "state"), [(True, "approved"), (False, "rejected")])
async def test_an_approval_is_decided(api: Api, approve: bool, state: str):
    run = await api.start()
    asked = await api.ask(run)
    body = {"approve": approve, "reason": "so be it", "action_hash": asked.approval.action_hash}
    for _ in range(2):  # saying it again changes nothing
        response = await api.as_("approver").post(f"/api/runs/{run}/approvals/board", json=body)
        assert response.status_code == 200
        [approval] = response.json()["approvals"]
        assert (approval["state"], approval["actor"], approval["reason"]) == (
            state,
            api.actor("approver"),
            "so be it",
        )
    assert api.orchestrations.raised[0] == (run, "doorbell", {"kind": "approval", "step": "board"})


async def test_an_approval_of_a_changed_action_is_a_conflict(api: Api):
    run = await api.start()
    asked = await api.ask(run)
    before = api.fingerprint()
    body = {"approve": True, "reason": "r", "action_hash": "0" * 64}
    response = await api.as_("approver").post(f"/api/runs/{run}/approvals/board", json=body)
    assert response.status_code == 409
    assert api.fingerprint() == before
    assert problem_of(response)["requested"] == asked.approval.action_hash
    assert (await api.show(run))["approvals"][0]["state"] == "requested"
    assert api.orchestrations.raised == []


async def test_an_approval_that_was_rejected_cannot_be_approved(api: Api):
    run = await api.start()
    body = {"approve": False, "reason": "r", "action_hash": (await api.ask(run)).approval.action_hash}
    path = f"/api/runs/{run}/approvals/board"
    assert (await api.as_("approver").post(path, json=body)).status_code == 200
    assert (await api.as_("approver").post(path, json=body | {"approve": True})).status_code == 409


async def test_a_step_that_asks_for_nothing_cannot_be_approved(api: Api):
    run = await api.start()
    body = {"approve": True, "reason": "r", "action_hash": "0" * 64}
    response = await api.as_("approver").post(f"/api/runs/{run}/approvals/finance", json=body)
    assert response.status_code == 404


@pytest.mark.parametrize(("happened", "state"), [(True, "settled"), (False, "released")])
async def test_an_unknown_effect_is_resolved(api: Api, happened: bool, state: str):
    run = await api.start()
    effect = await api.lose(run)
    path = f"/api/runs/{run}/effects/{effect}/resolution"
    response = await api.as_("operator").post(path, json={"happened": happened, "reason": "seen"})
    assert response.status_code == 200
    assert response.json()["effects"][0]["state"] == state
    other = await api.as_("operator").post(path, json={"happened": not happened, "reason": "seen"})
    assert other.status_code == 409


async def test_an_effect_that_is_not_there_cannot_be_resolved(api: Api):
    run = await api.start()
    path = f"/api/runs/{run}/effects/nope/resolution"
    response = await api.as_("operator").post(path, json={"happened": True, "reason": "seen"})
    assert response.status_code == 404


async def test_a_dossier_is_there_when_the_run_has_ended_and_verifies(api: Api):
    run = await api.start()
    await api.begin(run)
    early = await api.as_("viewer").get(f"/api/runs/{run}/dossier")
    assert early.status_code == 409
    await api.end(run)
    response = await api.as_("viewer").get(f"/api/runs/{run}/dossier")
    assert response.headers["content-type"] == "application/jsonl"
    assert response.headers["content-disposition"] == f'attachment; filename="{run}.dossier.jsonl"'
    key = (await api.as_("viewer").get("/api/audit/key")).content
    assert verify_dossier(response.content, key)


async def test_workflows_are_shown_with_the_schema_of_their_input(api: Api):
    listed = (await api.as_("viewer").get("/api/workflows")).json()["workflows"]
    assert [workflow["name"] for workflow in listed] == [WORKFLOW]
    shown = (await api.as_("viewer").get(f"/api/workflows/{WORKFLOW}")).json()
    assert listed[0].items() <= shown.items()
    assert shown["input_schema"]["required"][0] == "title"
    assert [step["id"] for step in shown["definition"]["steps"]][:2] == ["finance", "technology"]
    run = await api.show(await api.start())
    assert run["definition"] == shown["hash"]


async def test_agents_are_shown_with_their_states(api: Api):
    api.directory.instances["cfo"] = {
        "state": "busy",
        "definition": "d",
        "exclusive": False,
        "active": {"r.finance.1": 1000.0},
        "completed": 3,
        "failed": 1,
        "consecutive_failures": 0,
        "reason": None,
        "last_finished_at": 1000.0,
    }
    agents = (await api.as_("viewer").get("/api/agents")).json()["agents"]
    assert [agent["name"] for agent in agents] == ["ceo", "cfo", "cto"]
    assert agents[0]["state"] is None
    assert (agents[1]["state"], agents[1]["active"], agents[1]["completed"]) == ("busy", 1, 3)
    assert agents[1]["last_finished_at"] == "1970-01-01T00:16:40.000Z"


async def test_our_own_client_understands_all_of_it(api: Api):
    async with AosClient(api.url, api.keys["operator"]) as client:
        run = await client.start_run(WORKFLOW, INPUT, idempotency_key="k", budget_usd=2)
        assert (await client.list_runs(status="accepted"))["runs"][0]["id"] == run["id"]
        with pytest.raises(AosError) as refused:
            await client.start_run(WORKFLOW, INPUT, idempotency_key="k", budget_usd=3)
        assert refused.value.code == "conflict"
        assert refused.value.details["run"] == run["id"]
        await api.begin(run["id"])
        await client.cancel_run(run["id"], "enough")
        await api.end(run["id"], RunStatus.CANCELLED)
        types = [event.type async for event in client.events(run["id"])]
        assert types == ["run.started", "run.ended"]
        assert (await client.get_run(run["id"]))["status"] == "cancelled"
        assert verify_dossier(await client.dossier(run["id"]), (await client.audit_key()).encode())
        assert (await client.health())["status"] == "ready"
