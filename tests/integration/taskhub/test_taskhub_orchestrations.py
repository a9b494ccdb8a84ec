"""Orchestrations, driven by the real SDK over gRPC."""

import contextlib
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
import pytest
from durabletask import task
from durabletask.client import OrchestrationQuery, OrchestrationState, OrchestrationStatus, TaskHubGrpcClient
from durabletask.history import ExecutionStartedEvent
from durabletask.worker import TaskHubGrpcWorker
from taskhub_live import WAIT_S, LiveHub, until, worker

Context = task.OrchestrationContext

# Failures that an activity is to show, by the id of the orchestration's instance; a rewind needs them gone.
broken: set[str] = set()
calls: list[str] = []
calls_lock = threading.Lock()


def add_one_activity(_: task.ActivityContext, number: int) -> int:
    return number + 1


def empty_failure_activity(_: task.ActivityContext, __: object) -> None:
    raise ValueError


def fragile_activity(_: task.ActivityContext, key: str) -> str:
    with calls_lock:
        calls.append(key)
    if key in broken:
        raise KeyError(key)
    return f"done {key}"


def echo_activity(_: task.ActivityContext, value: str) -> str:
    return value


def chain(context: Context, number: int):
    for _ in range(3):
        number = yield context.call_activity(add_one_activity, input=number)
    return number


def fan_out(context: Context, width: int):
    results = yield task.when_all([context.call_activity(add_one_activity, input=n) for n in range(width)])
    return sum(results)


def fails_silently(context: Context, _: object):
    yield context.call_activity(empty_failure_activity)


def failing_child(context: Context, _: object):
    yield context.call_activity(fragile_activity, input="always")


def parent_of_failing(context: Context, _: object):
    yield context.call_sub_orchestrator(failing_child)


def names_parent(context: Context, _: object):
    return context.parent_instance_id


def parent(context: Context, _: object):
    return (yield context.call_sub_orchestrator(names_parent))


def reports(context: Context, _: object):
    context.set_custom_status({"at": "start"})
    return (yield context.wait_for_external_event("go"))


def version_of(context: Context, _: object):
    return context.version


def collects(context: Context, seen: list[int]):
    context.create_timer(timedelta(hours=1))
    seen = [*seen, (yield context.wait_for_external_event("number"))]
    if len(seen) < 3:
        context.continue_as_new(seen, save_events=True)
        return None
    return seen


def forgets(context: Context, generation: int):
    number = yield context.wait_for_external_event("number")
    if generation == 0:
        context.continue_as_new(1)
        return None
    return number


def sleeps(context: Context, seconds: int):
    yield context.create_timer(timedelta(seconds=seconds))
    return "woke"


def renews_then_sleeps(context: Context, generation: int):
    if generation == 0:
        context.create_timer(timedelta(seconds=10))
        yield context.wait_for_external_event("next")
        context.continue_as_new(1)
        return None
    # Has the same id as the timer of the first generation, which must not end this one.
    yield context.create_timer(timedelta(seconds=100))
    return "slept"


def waits_for_child(context: Context, depth: int):
    if depth:
        return (yield context.call_sub_orchestrator(waits_for_child, input=depth - 1))
    return (yield context.wait_for_external_event("never"))


def two_steps(context: Context, key: str):
    first = yield context.call_activity(fragile_activity, input=f"{key}-first")
    second = yield context.call_activity(fragile_activity, input=f"{key}-second")
    return [first, second]


def fails_beside_pending(context: Context, key: str):
    failing = context.call_activity(fragile_activity, input=key)
    child = context.call_sub_orchestrator(reports, instance_id=f"{key}-child")
    timer = context.create_timer(timedelta(seconds=50))
    yield failing
    yield timer
    return (yield child)


def echo(context: Context, value: str):
    return (yield context.call_activity(echo_activity, input=value))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHub]:
    hub = LiveHub(tmp_path_factory.mktemp("hub") / "hub.db")
    yield hub
    hub.close()


@pytest.fixture(scope="module", autouse=True)
def running(live: LiveHub) -> Iterator[TaskHubGrpcWorker]:
    activities = (add_one_activity, empty_failure_activity, fragile_activity, echo_activity)
    orchestrators = (
        chain, fan_out, fails_silently, failing_child, parent_of_failing, names_parent, parent, reports,
        version_of, collects, forgets, sleeps, renews_then_sleeps, waits_for_child, two_steps,
        fails_beside_pending, echo,
    )  # fmt: skip
    made = worker(live.address, *activities, *orchestrators)
    broken.add("always")
    yield made
    made.stop()


@pytest.fixture
def client(live: LiveHub) -> Iterator[TaskHubGrpcClient]:
    with live.client() as made:
        yield made


def ended(client: TaskHubGrpcClient, instance_id: str) -> OrchestrationState:
    state = client.wait_for_orchestration_completion(instance_id, timeout=WAIT_S)
    assert state is not None
    return state


def result(client: TaskHubGrpcClient, instance_id: str) -> object:
    state = ended(client, instance_id)
    assert state.runtime_status is OrchestrationStatus.COMPLETED, state
    return json.loads(state.serialized_output or "null")


def status(client: TaskHubGrpcClient, instance_id: str) -> OrchestrationStatus | None:
    state = client.get_orchestration_state(instance_id)
    return state.runtime_status if state else None


def test_activities_run_one_after_the_other(client: TaskHubGrpcClient) -> None:
    assert result(client, client.schedule_new_orchestration(chain, input=1)) == 4


def test_activities_run_side_by_side(client: TaskHubGrpcClient) -> None:
    assert result(client, client.schedule_new_orchestration(fan_out, input=200)) == sum(range(1, 201))


def test_a_failure_with_an_empty_message_is_a_failure(client: TaskHubGrpcClient) -> None:
    state = ended(client, client.schedule_new_orchestration(fails_silently))
    assert state.runtime_status is OrchestrationStatus.FAILED


def test_a_childs_failure_keeps_its_type_stack_and_cause(live: LiveHub, client: TaskHubGrpcClient) -> None:
    instance_id = client.schedule_new_orchestration(parent_of_failing)
    ended(client, instance_id)
    response = live.run(live.hub.get_instance(pb.GetInstanceRequest(instanceId=instance_id)))
    failure = response.orchestrationState.failureDetails
    types = []
    while failure.errorType:
        types.append(failure.errorType)
        assert failure.stackTrace.value
        failure = failure.innerFailure
    assert types == [
        "durabletask.task.TaskFailedError",
        "durabletask.task.TaskFailedError",
        "builtins.KeyError",
    ]


def test_a_child_knows_its_parent(live: LiveHub, client: TaskHubGrpcClient) -> None:
    instance_id = client.schedule_new_orchestration(parent)
    assert result(client, instance_id) == instance_id
    child = live.run(live.hub.get_instance(pb.GetInstanceRequest(instanceId=f"{instance_id}:0001")))
    assert child.orchestrationState.parentInstanceId.value == instance_id


def test_custom_status_tags_and_version_are_kept(live: LiveHub, client: TaskHubGrpcClient) -> None:
    instance_id = client.schedule_new_orchestration(reports, tags={"team": "blue"}, version="1.2")
    until(lambda: status(client, instance_id) is OrchestrationStatus.RUNNING)
    response = live.run(live.hub.get_instance(pb.GetInstanceRequest(instanceId=instance_id)))
    state = response.orchestrationState
    assert (json.loads(state.customStatus.value), state.tags["team"], state.version.value) == (
        {"at": "start"}, "blue", "1.2",
    )  # fmt: skip
    client.raise_orchestration_event(instance_id, "go", data="went")
    assert result(client, instance_id) == "went"


def test_the_orchestrator_sees_its_version(client: TaskHubGrpcClient) -> None:
    assert result(client, client.schedule_new_orchestration(version_of, version="7")) == "7"


def test_events_are_carried_over_continue_as_new(client: TaskHubGrpcClient) -> None:
    instance_id = client.schedule_new_orchestration(collects, input=[])
    for number in (1, 2, 3):
        client.raise_orchestration_event(instance_id, "number", data=number)
    assert result(client, instance_id) == [1, 2, 3]


def test_events_that_are_not_to_be_kept_go_with_their_generation(
    live: LiveHub, client: TaskHubGrpcClient
) -> None:
    start_at = moment(live) + timedelta(hours=1)
    instance_id = client.schedule_new_orchestration(forgets, input=0, start_at=start_at)
    for number in (1, 2):
        client.raise_orchestration_event(instance_id, "number", data=number)
    live.advance(timedelta(hours=1))
    # The events came with the first turn, so that there is a second generation once they are gone.
    until(lambda: history(client, instance_id) == "OrchestratorStartedEvent ExecutionStartedEvent")
    client.raise_orchestration_event(instance_id, "number", data=3)
    assert result(client, instance_id) == 3


def moment(live: LiveHub) -> datetime:
    """What the hub's clock shows."""
    return datetime.fromtimestamp(live.clock.now() / 1e6, UTC)


def test_a_timer_fires_when_the_clock_reaches_it(live: LiveHub, client: TaskHubGrpcClient) -> None:
    instance_id = client.schedule_new_orchestration(sleeps, input=3600)
    client.wait_for_orchestration_start(instance_id, timeout=WAIT_S)
    live.advance(timedelta(seconds=3590))
    assert result(client, client.schedule_new_orchestration(chain, input=0)) == 3  # the hub has gone on
    assert status(client, instance_id) is OrchestrationStatus.RUNNING
    live.advance(timedelta(seconds=15))
    assert result(client, instance_id) == "woke"


def test_a_timer_of_an_old_generation_never_fires(live: LiveHub, client: TaskHubGrpcClient) -> None:
    instance_id = client.schedule_new_orchestration(renews_then_sleeps, input=0)
    client.wait_for_orchestration_start(instance_id, timeout=WAIT_S)
    client.raise_orchestration_event(instance_id, "next")
    until(
        lambda: (
            "TimerCreated" in history(client, instance_id)
            and "EventRaised" not in history(client, instance_id)
        )
    )
    live.advance(timedelta(seconds=50))
    assert result(client, client.schedule_new_orchestration(chain, input=0)) == 3
    assert status(client, instance_id) is OrchestrationStatus.RUNNING
    live.advance(timedelta(seconds=100))
    assert result(client, instance_id) == "slept"


def history(client: TaskHubGrpcClient, instance_id: str) -> str:
    return " ".join(type(event).__name__ for event in client.get_orchestration_history(instance_id))


def test_a_suspended_instance_takes_its_events_when_resumed(client: TaskHubGrpcClient) -> None:
    instance_id = client.schedule_new_orchestration(reports)
    client.wait_for_orchestration_start(instance_id, timeout=WAIT_S)
    client.suspend_orchestration(instance_id)
    until(lambda: status(client, instance_id) is OrchestrationStatus.SUSPENDED)
    client.raise_orchestration_event(instance_id, "go", data=42)
    assert result(client, client.schedule_new_orchestration(chain, input=0)) == 3
    assert status(client, instance_id) is OrchestrationStatus.SUSPENDED
    client.resume_orchestration(instance_id)
    assert result(client, instance_id) == 42


def test_terminate_reaches_all_descendants(client: TaskHubGrpcClient) -> None:
    instance_id = client.schedule_new_orchestration(waits_for_child, input=2)
    family = [instance_id, f"{instance_id}:0001", f"{instance_id}:0001:0001"]
    until(lambda: status(client, family[2]) is OrchestrationStatus.RUNNING)
    client.terminate_orchestration(instance_id, output="enough")
    for each in family:
        state = ended(client, each)
        assert (state.runtime_status, state.serialized_output) == (OrchestrationStatus.TERMINATED, '"enough"')


def test_terminate_without_recursion_leaves_the_child(client: TaskHubGrpcClient) -> None:
    instance_id = client.schedule_new_orchestration(waits_for_child, input=1)
    until(lambda: status(client, f"{instance_id}:0001") is OrchestrationStatus.RUNNING)
    client.terminate_orchestration(instance_id, recursive=False)
    ended(client, instance_id)
    assert status(client, f"{instance_id}:0001") is OrchestrationStatus.RUNNING


def test_a_start_in_the_future_waits(live: LiveHub, client: TaskHubGrpcClient) -> None:
    start_at = moment(live) + timedelta(hours=1)
    waiting = client.schedule_new_orchestration(chain, input=1, start_at=start_at)
    given_up = client.schedule_new_orchestration(chain, input=1, start_at=start_at)
    client.terminate_orchestration(given_up)
    assert ended(client, given_up).runtime_status is OrchestrationStatus.TERMINATED
    assert status(client, waiting) is OrchestrationStatus.PENDING
    live.advance(timedelta(hours=1, seconds=1))
    assert result(client, waiting) == 4


def test_an_id_in_use_is_refused_and_a_finished_one_taken_again(client: TaskHubGrpcClient) -> None:
    client.schedule_new_orchestration(reports, instance_id="mine")
    with pytest.raises(grpc.RpcError) as refusal:
        client.schedule_new_orchestration(chain, input=1, instance_id="mine")
    assert refusal.value.code() is grpc.StatusCode.ALREADY_EXISTS
    client.raise_orchestration_event("mine", "go")
    ended(client, "mine")
    client.schedule_new_orchestration(chain, input=1, instance_id="mine")
    assert result(client, "mine") == 4


@pytest.mark.parametrize("replaceable", [[], [pb.ORCHESTRATION_STATUS_FAILED]])
def test_a_reuse_policy_protects_what_it_does_not_name(
    client: TaskHubGrpcClient, replaceable: list[pb.OrchestrationStatus]
) -> None:
    instance_id = client.schedule_new_orchestration(chain, input=1)
    ended(client, instance_id)
    policy = pb.OrchestrationIdReusePolicy(replaceableStatus=replaceable)
    with pytest.raises(grpc.RpcError) as refusal:
        client.schedule_new_orchestration(chain, input=5, instance_id=instance_id, reuse_id_policy=policy)
    assert refusal.value.code() is grpc.StatusCode.ALREADY_EXISTS


def test_a_reuse_policy_may_replace_a_running_instance(client: TaskHubGrpcClient) -> None:
    instance_id = client.schedule_new_orchestration(reports)
    client.wait_for_orchestration_start(instance_id, timeout=WAIT_S)
    policy = pb.OrchestrationIdReusePolicy(
        replaceableStatus=[pb.ORCHESTRATION_STATUS_RUNNING, pb.ORCHESTRATION_STATUS_TERMINATED]
    )
    client.schedule_new_orchestration(chain, input=1, instance_id=instance_id, reuse_id_policy=policy)
    assert result(client, instance_id) == 4


def test_rewind_repeats_only_what_failed(client: TaskHubGrpcClient) -> None:
    broken.add("r1-second")
    instance_id = client.schedule_new_orchestration(two_steps, input="r1")
    assert ended(client, instance_id).runtime_status is OrchestrationStatus.FAILED
    broken.discard("r1-second")
    client.rewind_orchestration(instance_id, reason="mended")
    assert result(client, instance_id) == ["done r1-first", "done r1-second"]
    assert (calls.count("r1-first"), calls.count("r1-second")) == (1, 2)


def test_rewind_takes_up_timers_and_children_that_were_under_way(
    live: LiveHub, client: TaskHubGrpcClient
) -> None:
    broken.add("r2")
    instance_id = client.schedule_new_orchestration(fails_beside_pending, input="r2")
    assert ended(client, instance_id).runtime_status is OrchestrationStatus.FAILED
    client.raise_orchestration_event("r2-child", "go", data="reported while the parent lay failed")
    ended(client, "r2-child")
    broken.discard("r2")
    client.rewind_orchestration(instance_id)
    until(lambda: calls.count("r2") == 2)
    live.advance(timedelta(seconds=60))
    assert result(client, instance_id) == "reported while the parent lay failed"


def test_only_a_failed_instance_can_be_rewound(client: TaskHubGrpcClient) -> None:
    instance_id = client.schedule_new_orchestration(chain, input=1)
    ended(client, instance_id)
    with pytest.raises(grpc.RpcError) as refusal:
        client.rewind_orchestration(instance_id)
    assert refusal.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_restart_runs_the_first_input_again(client: TaskHubGrpcClient) -> None:
    instance_id = client.schedule_new_orchestration(chain, input=10)
    ended(client, instance_id)
    again = client.restart_orchestration(instance_id, restart_with_new_instance_id=True)
    assert again != instance_id
    assert result(client, again) == 13
    assert client.restart_orchestration(instance_id) == instance_id
    assert result(client, instance_id) == 13


def test_purge_deletes_ended_instances_with_their_children(client: TaskHubGrpcClient) -> None:
    instance_id = client.schedule_new_orchestration(parent)
    ended(client, instance_id)
    running = client.schedule_new_orchestration(reports)
    assert client.purge_orchestration(running).deleted_instance_count == 0
    assert client.purge_orchestration(instance_id, recursive=True).deleted_instance_count == 2
    assert client.get_orchestration_state(f"{instance_id}:0001") is None
    assert client.get_orchestration_state(running) is not None


def test_purge_by_filter_takes_only_what_matches(client: TaskHubGrpcClient) -> None:
    failed = client.schedule_new_orchestration(fails_silently)
    completed = client.schedule_new_orchestration(chain, input=1)
    ended(client, failed)
    ended(client, completed)
    client.purge_orchestrations_by(runtime_status=[OrchestrationStatus.FAILED])
    assert client.get_orchestration_state(failed) is None
    assert client.get_orchestration_state(completed) is not None


def test_queries_filter_and_page(live: LiveHub, client: TaskHubGrpcClient) -> None:
    ids = [client.schedule_new_orchestration(chain, input=n, instance_id=f"page-{n}") for n in range(5)]
    for instance_id in ids:
        ended(client, instance_id)
    query = OrchestrationQuery(
        instance_id_prefix="page-", runtime_status=[OrchestrationStatus.COMPLETED], max_instance_count=2
    )
    first = live.run(
        live.hub.query_instances(
            pb.QueryInstancesRequest(
                query=pb.InstanceQuery(instanceIdPrefix={"value": "page-"}, maxInstanceCount=2)
            )
        )
    )
    assert len(first.orchestrationState) == 2
    assert first.HasField("continuationToken")
    found = client.get_all_orchestration_states(query)
    assert sorted(state.instance_id for state in found) == ids
    assert {state.serialized_output for state in found} == {None}


def test_instances_are_found_by_when_they_were_created_and_ended(
    live: LiveHub, client: TaskHubGrpcClient
) -> None:
    ids = []
    for n in range(3):
        ids.append(client.schedule_new_orchestration(chain, input=n, instance_id=f"hourly-{n}"))
        ended(client, ids[-1])
        live.advance(timedelta(hours=1))
        live.run(live.hub.get_instance(pb.GetInstanceRequest()))  # by now the clock has been moved
    begin, end = moment(live) - timedelta(hours=2.5), moment(live) - timedelta(hours=1.5)
    created = client.get_all_orchestration_states(
        OrchestrationQuery(created_time_from=begin, created_time_to=end)
    )
    assert [each.instance_id for each in created] == ["hourly-1"]
    completed = client.list_instance_ids(completed_time_from=begin, completed_time_to=end)
    assert completed.items == ["hourly-1"]
    assert client.list_instance_ids([OrchestrationStatus.FAILED], begin, end).items == []
    purged = client.purge_orchestrations_by(created_time_from=begin, created_time_to=end)
    assert purged.deleted_instance_count == 1
    assert [client.get_orchestration_state(each) is None for each in ids] == [False, True, False]


def test_a_wrong_continuation_token_is_refused(live: LiveHub) -> None:
    query = pb.InstanceQuery(continuationToken={"value": "nonsense"})
    with pytest.raises(grpc.RpcError) as refusal, grpc.insecure_channel(live.address) as channel:
        channel.unary_unary("/TaskHubSidecarService/QueryInstances")(
            pb.QueryInstancesRequest(query=query).SerializeToString()
        )
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_ended_instances_are_listed_in_the_order_in_which_they_ended(client: TaskHubGrpcClient) -> None:
    ids = [client.schedule_new_orchestration(chain, input=n, instance_id=f"list-{9 - n}") for n in range(3)]
    for instance_id in ids:
        ended(client, instance_id)
    listed: list[str] = []
    token = None
    while True:
        page = client.list_instance_ids(page_size=2, continuation_token=token)
        listed += page.items
        token = page.continuation_token
        if token is None:
            break
    assert set(ids) <= set(listed)
    assert len(listed) == len(set(listed))


def test_history_is_streamed_whole(client: TaskHubGrpcClient) -> None:
    instance_id = client.schedule_new_orchestration(fan_out, input=150)
    ended(client, instance_id)
    events = client.get_orchestration_history(instance_id)
    assert isinstance(events[1], ExecutionStartedEvent)
    assert history(client, instance_id).count("TaskCompletedEvent") == 150


def test_large_payloads_pass(client: TaskHubGrpcClient) -> None:
    value = "x" * 6_000_000
    assert result(client, client.schedule_new_orchestration(echo, input=value)) == value


def test_an_unknown_instance_is_not_found(client: TaskHubGrpcClient) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        client.raise_orchestration_event("nobody", "go")
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND


def test_an_instance_that_does_not_exist_yet_is_waited_for(live: LiveHub, client: TaskHubGrpcClient) -> None:
    request = pb.GetInstanceRequest(instanceId="to-come", getInputsAndOutputs=True).SerializeToString()
    with grpc.insecure_channel(live.address) as channel:
        call = channel.unary_unary("/TaskHubSidecarService/WaitForInstanceCompletion")
        waiting = call.future(request, timeout=WAIT_S)
        until(lambda: "to-come" in live.hub._engine._waiting)
        client.schedule_new_orchestration(chain, input=1, instance_id="to-come")
        assert pb.GetInstanceResponse.FromString(waiting.result()).orchestrationState.output.value == "4"


def test_hundreds_of_waits_cost_no_thread(live: LiveHub, client: TaskHubGrpcClient) -> None:
    instance_id = client.schedule_new_orchestration(reports)
    client.wait_for_orchestration_start(instance_id, timeout=WAIT_S)
    request = pb.GetInstanceRequest(instanceId=instance_id).SerializeToString()
    before = threading.active_count()
    with grpc.insecure_channel(live.address) as channel:
        wait = channel.unary_unary("/TaskHubSidecarService/WaitForInstanceCompletion")
        waits = [wait.future(request, timeout=WAIT_S) for _ in range(400)]
        client.raise_orchestration_event(instance_id, "go", data=1)
        answers = [pb.GetInstanceResponse.FromString(each.result()) for each in waits]
    assert threading.active_count() - before < 5
    assert all(a.orchestrationState.orchestrationStatus == pb.ORCHESTRATION_STATUS_COMPLETED for a in answers)


def test_every_call_of_the_protocol_is_served(tmp_path: Path) -> None:
    hub = LiveHub(tmp_path / "hub.db")
    codes = {}
    engine = hub.hub._engine
    lasting = {
        "GetWorkItems": lambda: engine.dispatcher._workers,
        "WaitForInstanceStart": lambda: engine._waiting,
        "WaitForInstanceCompletion": lambda: engine._waiting,
    }
    try:
        with grpc.insecure_channel(hub.address) as channel:
            for method in pb.DESCRIPTOR.services_by_name["TaskHubSidecarService"].methods:
                call = channel.unary_stream(f"/TaskHubSidecarService/{method.name}")(b"")
                if method.name in lasting:
                    until(lasting[method.name])
                    call.cancel()
                    until(lambda under_way=lasting[method.name]: not under_way())
                with contextlib.suppress(grpc.RpcError):
                    list(call)
                codes[method.name] = call.code()
    finally:
        hub.close()
    assert len(codes) > 25
    assert {codes.pop(name) for name in lasting} == {grpc.StatusCode.CANCELLED}
    served = {grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}
    assert {name: code for name, code in codes.items() if code not in served} == {}


def test_deleting_the_hub_ends_all_waits(tmp_path: Path) -> None:
    hub = LiveHub(tmp_path / "hub.db")
    try:
        with hub.client() as client, grpc.insecure_channel(hub.address) as channel:
            instance_id = client.schedule_new_orchestration("nobody-runs-this")
            waiting = channel.unary_unary("/TaskHubSidecarService/WaitForInstanceCompletion").future(
                pb.GetInstanceRequest(instanceId=instance_id).SerializeToString(), timeout=WAIT_S
            )
            until(lambda: hub.hub._engine._waiting)
            hub.run(hub.hub.delete_task_hub(pb.DeleteTaskHubRequest()))
            assert not pb.GetInstanceResponse.FromString(waiting.result()).exists
            assert client.schedule_new_orchestration("again", instance_id=instance_id) == instance_id
    finally:
        hub.close()
