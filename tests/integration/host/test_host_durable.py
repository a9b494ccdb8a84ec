"""What the durable SDK offers to apps, in the forms of version 1 and 2, through one host process."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import azure.durable_functions as df
import grpc.aio
import pytest
from durabletask.client import EntityQuery, OrchestrationQuery, OrchestrationState, OrchestrationStatus
from durabletask.entities import EntityInstanceId
from durabletask.extensions.history_export import (
    AsyncExportHistoryClient,
    ExportDestination,
    ExportFormat,
    ExportFormatKind,
    ExportJobCreationOptions,
    ExportJobStatus,
    ExportMode,
)
from durabletask.scheduled import ScheduleCreationOptions, ScheduledTaskClient
from host_process import HostProcess, eventually, until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the calls of version 1, meant here

DONE = OrchestrationStatus.COMPLETED


@pytest.fixture
async def client(durable: HostProcess) -> AsyncIterator[df.DurableFunctionsClient]:
    """The SDK's client, made from what the binding gives to functions."""
    made = df.DurableFunctionsClient(durable.http.get("/api/raw").text)
    yield made
    await made.close()


async def ended(client: df.DurableFunctionsClient, instance_id: str) -> OrchestrationState:
    state = await client.wait_for_orchestration_completion(instance_id, timeout=40)
    assert state is not None
    return state


async def output(client: df.DurableFunctionsClient, name: str, given: Any = None, **options: Any) -> Any:
    instance_id = await client.schedule_new_orchestration(name, input=given, **options)
    state = await ended(client, instance_id)
    assert state.runtime_status == DONE, state
    return state.get_output()


async def waits(client: df.DurableFunctionsClient, instance_id: str) -> None:
    """Until the orchestration `approval` waits for its event."""

    async def told() -> bool:
        state = await client.wait_for_orchestration_start(instance_id, timeout=40, fetch_payloads=True)
        return state is not None and state.get_custom_status() == "waiting"

    await eventually(told, f"{instance_id} to wait")


async def test_every_call_of_a_version_1_context_works(client: df.DurableFunctionsClient) -> None:
    found = await output(client, "everything", {"a": 1}, instance_id="all-calls")
    assert found == {
        "input": {"a": 1},
        "version": "2.0",
        "parent": None,
        "activity": 42,
        "retried": 3,
        "child": ["a", "all-calls-child", "all-calls", "2.0"],
        "child_retried": 2,
        "all": [2, 4, 6],
        "entity": 42,
        "first": "timer",
        "uuids_differ": True,
        "time_goes_on": True,
        "not_replaying": True,
    }
    status = await client.get_status("all-calls")
    assert status.custom_status == {"step": "ended"}


async def test_a_native_orchestrator_locks_calls_sends_and_waits(client: df.DurableFunctionsClient) -> None:
    assert await output(client, "native", 100) == [30, 70, 140, "from the parent", "TypeError", "2.0"]


async def test_an_orchestration_goes_on_as_new_until_it_is_done(client: df.DurableFunctionsClient) -> None:
    assert await output(client, "counting_down", 3) == "done"


async def test_types_of_the_app_travel_whole(client: df.DurableFunctionsClient) -> None:
    parcel = {"__class__": "Parcel", "__module__": "steps", "__data__": {"weight": 4}}
    assert await output(client, "typed", parcel) == ["Parcel", 4, 5]


async def test_a_durable_http_call_polls_until_the_answer_is_there(
    client: df.DurableFunctionsClient, durable: HostProcess
) -> None:
    """The app polls by host.json's interval, 50 ms; the SDK's own is a second, Azure's thirty."""
    given = {"method": "GET", "url": f"{durable.url}/api/slow/one"}
    assert await output(client, "calling_http", given) == [200, "after 2", "2"]
    given = {
        "method": "POST",
        "url": f"{durable.url}/api/echo",
        "content": {"a": [1]},
        "headers": {"x-functions-key": durable.http.headers["x-functions-key"]},
    }
    assert await output(client, "calling_http", given) == [418, '{"a": [1]}', None]


async def test_large_payloads_travel_by_the_apps_own_store(
    client: df.DurableFunctionsClient, durable: HostProcess
) -> None:
    """This client knows nothing of the store: it sees what the hub keeps."""
    given = {"text": "0123456789", "times": 30_000}
    assert durable.http.post("/api/raw/large", json=given).json() == "0123456789" * 30_000
    kept = await output(client, "large", given)
    assert (durable.folder / "payloads" / kept.removeprefix("file:")).exists()


# -- the client in its forms


def test_a_check_status_response_is_one_that_a_plain_http_client_can_follow(durable: HostProcess) -> None:
    answer = durable.http.post("/api/begin/counting_down", json=1)
    assert answer.status_code == 202
    links = answer.json()
    assert answer.headers["location"] == links["statusQueryGetUri"]
    assert answer.headers["retry-after"] == "10"
    plain = durable.plain()
    state = until(lambda: _ended_document(plain.get(links["statusQueryGetUri"])), "the end")
    assert (state["output"], state["runtimeStatus"]) == ("done", "Completed")
    assert set(links) == {
        "id", "statusQueryGetUri", "sendEventPostUri", "terminatePostUri", "rewindPostUri",
        "purgeHistoryDeleteUri", "restartPostUri", "suspendPostUri", "resumePostUri",
    }  # fmt: skip


def _ended_document(answer: Any) -> dict[str, Any] | None:
    return answer.json() if answer.status_code == 200 else None


def test_a_version_1_client_waits_for_the_end_or_gives_links(durable: HostProcess) -> None:
    answer = durable.http.post("/api/v1/counting_down", json=0)
    assert (answer.status_code, answer.json()) == (200, "done")
    answer = durable.http.post("/api/v1/approval", json={}, params={"timeout_ms": "1"})
    assert answer.status_code == 202
    assert durable.plain().post(answer.json()["terminatePostUri"].format(text="enough")).status_code == 202


def test_a_sync_function_gets_a_client_that_waits(durable: HostProcess) -> None:
    answer = durable.http.post("/api/sync/counting_down", json=1).json()
    assert answer["output"] == "done"
    assert durable.plain().get(answer["links"]["statusQueryGetUri"]).json()["output"] == "done"


def test_a_client_can_be_made_from_the_raw_configuration(durable: HostProcess) -> None:
    assert durable.http.post("/api/raw/counting_down", json=0).json() == "done"
    configuration = durable.http.get("/api/raw").json()
    assert configuration["taskHubName"] == "DurableTests"
    assert "&code=" in configuration["requiredQueryStringParameters"]
    assert "INSTANCEID" in configuration["managementUrls"]["statusQueryGetUri"]


# -- what clients can do


async def test_the_calls_of_a_version_1_client(
    client: df.DurableFunctionsClient, durable: HostProcess
) -> None:
    begun = datetime.now(UTC)
    await client.start_new("approval", "v1-approval", {"for": "ann"})
    await waits(client, "v1-approval")
    await client.suspend("v1-approval", "a pause")
    await client.raise_event("v1-approval", "approval", "yes")

    async def is_suspended() -> bool:
        status = await client.get_status("v1-approval")
        return status.runtime_status is df.OrchestrationRuntimeStatus.Suspended

    await eventually(is_suspended, "the suspension")
    await client.resume("v1-approval", "go on")
    assert (await ended(client, "v1-approval")).get_output() == {"approved": "yes"}
    status = await client.get_status("v1-approval", show_history=True, show_input=True)
    assert status.input_ == {"for": "ann"}
    told = {event["EventType"] for event in status.history}
    assert {"ExecutionStarted", "TimerCreated", "EventRaised", "ExecutionCompleted"} <= told
    assert {"ExecutionSuspended", "ExecutionResumed"} <= told
    assert "v1-approval" in {each.instance_id for each in await client.get_status_all()}
    completed = [df.OrchestrationRuntimeStatus.Completed]
    found = await client.get_status_by(created_time_from=begun, runtime_status=completed)
    assert "v1-approval" in {each.instance_id for each in found}
    again = await client.restart("v1-approval")
    assert again != "v1-approval"
    await client.terminate(again, "no longer needed")
    assert (await ended(client, again)).runtime_status is OrchestrationStatus.TERMINATED
    assert (await client.get_status(again)).output == "no longer needed"
    entity = df.EntityId("counter", "of-the-client")
    await client.signal_entity(entity, "add", 4)
    state = await eventually(lambda: _state_of(client, entity), "the entity's state")
    assert state.entity_state == 4
    assert (await client.purge_instance_history(again)).instances_deleted == 1
    assert not await client.get_status(again)
    links = client.get_client_response_links(None, "v1-approval")
    assert durable.plain().get(links["statusQueryGetUri"]).status_code == 200
    purged = await client.purge_instance_history_by(begun, datetime.now(UTC), completed)
    assert purged.instances_deleted >= 1
    assert not await client.get_status("v1-approval")


async def _state_of(client: df.DurableFunctionsClient, entity: df.EntityId) -> df.EntityStateResponse | None:
    state = await client.read_entity_state(entity)
    return state if state.entity_exists else None


async def test_a_failed_instance_is_rewound_to_before_its_failure(
    client: df.DurableFunctionsClient, durable: HostProcess
) -> None:
    obstacle = durable.folder / "obstacle"
    obstacle.touch()
    instance_id = await client.schedule_new_orchestration("failing", input=str(obstacle))
    state = await ended(client, instance_id)
    assert state.runtime_status is OrchestrationStatus.FAILED
    assert state.failure_details is not None
    assert str(obstacle) in state.failure_details.message
    obstacle.unlink()
    await client.rewind(instance_id, "it was removed")
    assert (await ended(client, instance_id)).get_output() == "it is gone"


async def test_instances_are_queried_listed_and_started_later(client: df.DurableFunctionsClient) -> None:
    moment = datetime.now(UTC)
    ids = [f"listed-{number}" for number in range(3)]
    for instance_id in ids:
        assert await output(client, "counting_down", 0, instance_id=instance_id, tags={"a": "b"}) == "done"
    later = await client.schedule_new_orchestration(
        "counting_down", input=0, start_at=datetime.now(UTC) + timedelta(hours=1), version="1.5"
    )
    query = OrchestrationQuery(created_time_from=moment, fetch_inputs_and_outputs=True, max_instance_count=2)
    found = {state.instance_id: state for state in await client.get_all_orchestration_states(query)}
    assert set(found) == {*ids, later}
    assert found[later].runtime_status is OrchestrationStatus.PENDING
    page = await client.list_instance_ids(page_size=1000, completed_time_from=moment)
    assert set(ids) <= set(page.items)
    history = await client.get_orchestration_history(ids[0])
    assert history
    await client.terminate_orchestration(later)
    assert (await client.purge_orchestration(later)).deleted_instance_count == 1


async def test_entities_are_queried_signalled_later_and_cleaned(client: df.DurableFunctionsClient) -> None:
    for key in ("q1", "q2"):
        await client.signal_entity(EntityInstanceId("notary", key), "note", input=f"by {key}")
        await eventually(
            lambda key=key: client.get_orchestration_state(f"noted-{key}"), "the start by the entity"
        )
        assert (await ended(client, f"noted-{key}")).get_output() == [f"by {key}", "2.0"]
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    await client.signal_entity(EntityInstanceId("counter", "tomorrow"), "add", input=1, signal_time=tomorrow)
    entities = await client.get_all_entities(EntityQuery(instance_id_starts_with="@notary@q", page_size=1))
    assert {each.id.key: each.get_typed_state() for each in entities} == {"q1": "by q1", "q2": "by q2"}
    assert await client.get_entity(EntityInstanceId("counter", "tomorrow")) is None
    await client.signal_entity(EntityInstanceId("counter", "q1"), "delete")

    async def gone() -> bool:
        return await client.get_entity(EntityInstanceId("counter", "q1")) is None

    await eventually(gone, "the deletion")
    assert (await client.clean_entity_storage()).orphaned_locks_released == 0


async def test_an_orchestrator_that_is_not_there_cannot_be_started(client: df.DurableFunctionsClient) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="'absent' does not exist or is disabled; this app has"):
        await client.schedule_new_orchestration("absent")


async def test_an_event_for_an_instance_that_has_ended_is_an_error_when_host_json_says_so(
    client: df.DurableFunctionsClient,
) -> None:
    await output(client, "counting_down", 0, instance_id="is-over")
    with pytest.raises(grpc.aio.AioRpcError, match="because the instance is in Completed state"):
        await client.raise_orchestration_event("is-over", "late")


async def test_an_instance_of_a_newer_version_waits_for_an_app_that_may_run_it(
    client: df.DurableFunctionsClient, durable: HostProcess
) -> None:
    newer = await client.schedule_new_orchestration("counting_down", input=0, version="2.1")
    older = await client.schedule_new_orchestration("counting_down", input=0, version="1.9")
    assert (await ended(client, older)).get_output() == "done"
    state = await client.get_orchestration_state(newer)
    assert state is not None
    assert state.runtime_status is OrchestrationStatus.PENDING
    durable.wait_for_log(
        f"orchestration {newer} of counting_down waits: the orchestration version '2.1' is newer"
    )
    await client.terminate_orchestration(newer)


# -- what the SDK builds on these


def test_scheduled_tasks_start_orchestrations_at_intervals(durable: HostProcess) -> None:
    with df.SyncDurableFunctionsClient(durable.http.get("/api/raw").text) as client:
        tasks = ScheduledTaskClient(client)
        made = tasks.create_schedule(
            ScheduleCreationOptions(
                schedule_id="each-second",
                orchestration_name="counting_down",
                orchestration_input=0,
                orchestration_instance_id="scheduled",
                interval=timedelta(seconds=1),
            )
        )
        until(lambda: client.get_orchestration_state("scheduled"), "a scheduled start")
        assert client.wait_for_orchestration_completion("scheduled", timeout=40).get_output() == "done"
        assert [each.schedule_id for each in tasks.list_schedules()] == ["each-second"]
        made.delete()
        assert tasks.get_schedule("each-second") is None


async def test_histories_are_exported(client: df.DurableFunctionsClient, durable: HostProcess) -> None:
    moment = datetime.now(UTC)
    await output(client, "counting_down", 0, instance_id="exported")
    exports = AsyncExportHistoryClient(client, writer=None)
    options = ExportJobCreationOptions(
        mode=ExportMode.BATCH,
        completed_time_from=moment,
        completed_time_to=datetime.now(UTC),
        destination=ExportDestination(container="histories"),
        format=ExportFormat(kind=ExportFormatKind.JSON),
    )
    job = await exports.create_job(options)
    done = await exports.wait_for_job(job.job_id, timeout=40)
    assert done.status is ExportJobStatus.COMPLETED, done
    written = [path.read_text() for path in (durable.folder / "exports" / "histories").iterdir()]
    assert any("exported" in text for text in written)
