"""Entities, driven by the real SDK over gRPC."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import durabletask.internal.orchestrator_service_pb2 as pb
import pytest
from durabletask import task
from durabletask.client import EntityQuery, OrchestrationStatus, TaskHubGrpcClient
from durabletask.entities import EntityContext, EntityInstanceId
from durabletask.worker import TaskHubGrpcWorker
from taskhub_live import WAIT_S, LiveHub, until, worker

Context = task.OrchestrationContext

ran: list[tuple[str, str]] = []  # (entity key, caller) in the order in which they ran
ran_lock = threading.Lock()


def counter_entity(context: EntityContext, value: object) -> object:
    match context.operation:
        case "add":
            context.set_state(context.get_state(int, 0) + value)
        case "get":
            return context.get_state(int, 0)
        case "note":
            with ran_lock:
                ran.append((context.entity_id.key, str(value)))
        case "fail":
            raise ValueError("no such thing")
        case "clear":
            context.set_state(None)
        case "forward":
            context.signal_entity(EntityInstanceId("counter_entity", value), "add", 1)
        case "start":
            context.schedule_new_orchestration("reads", str(value), instance_id=f"by-entity-{value}")
    return None


def counter(key: str) -> EntityInstanceId:
    return EntityInstanceId("counter_entity", key)


def reads(context: Context, key: str):
    return (yield context.call_entity(counter(key), "get"))


def adds(context: Context, options: list):
    key, times = options
    for _ in range(times):
        yield context.call_entity(counter(key), "add", 1)


def calls_failing(context: Context, key: str):
    try:
        yield context.call_entity(counter(key), "fail")
    except task.TaskFailedError as error:
        return str(error)


def holds_locks(context: Context, options: dict):
    """Holds a set of entities until told; notes before and after."""
    keys = [counter(key) for key in options["keys"]]
    with (yield context.lock_entities(keys)):
        yield context.call_entity(keys[0], "note", options["name"])
        if options.get("until_told"):
            yield context.wait_for_external_event("release")
        yield context.call_entity(keys[0], "note", options["name"])
        if options.get("fails"):
            raise RuntimeError("left the section by failing")


def notes(context: Context, options: dict):
    yield context.call_entity(counter(options["key"]), "note", options["name"])


def transfers(context: Context, options: dict):
    """Read-modify-write over two entities, which only locks make correct."""
    source, target = counter(options["from"]), counter(options["to"])
    with (yield context.lock_entities([source, target])):
        balance = yield context.call_entity(source, "get")
        if balance > 0:
            yield context.call_entity(source, "add", -1)
            yield context.call_entity(target, "add", 1)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHub]:
    hub = LiveHub(tmp_path_factory.mktemp("hub") / "hub.db")
    yield hub
    hub.close()


@pytest.fixture(scope="module", autouse=True)
def running(live: LiveHub) -> Iterator[TaskHubGrpcWorker]:
    made = worker(live.address, counter_entity, reads, adds, calls_failing, holds_locks, notes, transfers)
    yield made
    made.stop()


@pytest.fixture
def client(live: LiveHub) -> Iterator[TaskHubGrpcClient]:
    with live.client() as made:
        yield made


def result(client: TaskHubGrpcClient, instance_id: str) -> object:
    state = client.wait_for_orchestration_completion(instance_id, timeout=WAIT_S)
    assert state is not None
    assert state.runtime_status is OrchestrationStatus.COMPLETED, state
    return json.loads(state.serialized_output or "null")


def state_of(client: TaskHubGrpcClient, key: str) -> int | None:
    entity = client.get_entity(counter(key))
    return entity.get_typed_state(int) if entity else None


def test_signals_and_calls_update_the_state(client: TaskHubGrpcClient) -> None:
    for _ in range(5):
        client.signal_entity(counter("plain"), "add", 2)
    until(lambda: state_of(client, "plain") == 10)
    assert result(client, client.schedule_new_orchestration(reads, input="plain")) == 10


def test_a_failed_operation_is_told_to_its_caller_and_changes_nothing(client: TaskHubGrpcClient) -> None:
    client.signal_entity(counter("firm"), "add", 3)
    assert "no such thing" in str(
        result(client, client.schedule_new_orchestration(calls_failing, input="firm"))
    )
    assert state_of(client, "firm") == 3


def test_an_entity_without_state_is_gone(client: TaskHubGrpcClient) -> None:
    client.signal_entity(counter("brief"), "add", 1)
    until(lambda: state_of(client, "brief") == 1)
    client.signal_entity(counter("brief"), "clear")
    until(lambda: client.get_entity(counter("brief")) is None)
    found = client.get_all_entities(EntityQuery(instance_id_starts_with="@counter_entity@brief"))
    assert list(found) == []


def test_a_scheduled_signal_waits_for_its_time(live: LiveHub, client: TaskHubGrpcClient) -> None:
    at = datetime.fromtimestamp(live.clock.now() / 1e6, UTC) + timedelta(hours=1)
    client.signal_entity(counter("later"), "add", 1, signal_time=at)
    client.signal_entity(counter("later"), "add", 10)
    until(lambda: state_of(client, "later") == 10)
    live.advance(timedelta(hours=1, seconds=1))
    until(lambda: state_of(client, "later") == 11)


def test_an_entity_signals_another_and_starts_an_orchestration(client: TaskHubGrpcClient) -> None:
    client.signal_entity(counter("near"), "forward", "far")
    until(lambda: state_of(client, "far") == 1)
    client.signal_entity(counter("near"), "start", "far")
    until(lambda: client.get_orchestration_state("by-entity-far") is not None)
    assert result(client, "by-entity-far") == 1


def test_a_lock_keeps_the_operations_of_others_out(client: TaskHubGrpcClient) -> None:
    holder = client.schedule_new_orchestration(
        holds_locks, input={"keys": ["vault"], "name": "holder", "until_told": 1}
    )
    until(lambda: ("vault", "holder") in ran)
    others = [
        client.schedule_new_orchestration(notes, input={"key": "vault", "name": f"other-{n}"})
        for n in range(3)
    ]
    client.signal_entity(counter("vault"), "note", "signal")
    locked = client.get_all_entities(
        EntityQuery(instance_id_starts_with="@counter_entity@vault", include_transient=True)
    )
    assert len(list(locked)) == 1
    client.raise_orchestration_event(holder, "release")
    for each in (holder, *others):
        result(client, each)
    until(lambda: len([1 for key, _ in ran if key == "vault"]) == 6)
    assert [name for key, name in ran if key == "vault"][:2] == ["holder", "holder"]


@pytest.mark.parametrize("end", ["terminate", "fail"])
def test_an_orchestration_that_ends_in_its_section_leaves_no_lock(
    client: TaskHubGrpcClient, end: str
) -> None:
    key = f"left-{end}"
    holder = client.schedule_new_orchestration(
        holds_locks, input={"keys": [key, f"{key}-2"], "name": "holder", "until_told": 1, "fails": 1}
    )
    until(lambda: (key, "holder") in ran)
    if end == "terminate":
        client.terminate_orchestration(holder)
    else:
        client.raise_orchestration_event(holder, "release")
    for each in (key, f"{key}-2"):
        result(client, client.schedule_new_orchestration(notes, input={"key": each, "name": "next"}))


def test_a_lock_still_waited_for_is_given_up_with_its_orchestration(client: TaskHubGrpcClient) -> None:
    first = client.schedule_new_orchestration(
        holds_locks, input={"keys": ["queue"], "name": "first", "until_told": 1}
    )
    until(lambda: ("queue", "first") in ran)
    second = client.schedule_new_orchestration(holds_locks, input={"keys": ["queue"], "name": "second"})
    client.wait_for_orchestration_start(second, timeout=WAIT_S)
    client.terminate_orchestration(second)
    client.wait_for_orchestration_completion(second, timeout=WAIT_S)
    client.raise_orchestration_event(first, "release")
    result(client, first)
    result(client, client.schedule_new_orchestration(notes, input={"key": "queue", "name": "third"}))


def test_crossing_lock_sets_neither_deadlock_nor_lose_updates(client: TaskHubGrpcClient) -> None:
    for key in ("a", "b", "c"):
        client.signal_entity(counter(key), "add", 20)
    pairs = [("a", "b"), ("b", "a"), ("b", "c"), ("c", "a"), ("c", "b"), ("a", "c")] * 3
    ids = [client.schedule_new_orchestration(transfers, input={"from": f, "to": t}) for f, t in pairs]
    for instance_id in ids:
        result(client, instance_id)
    assert {key: state_of(client, key) for key in ("a", "b", "c")} == {"a": 20, "b": 20, "c": 20}


def test_entities_are_queried_in_pages(client: TaskHubGrpcClient) -> None:
    for n in range(5):
        client.signal_entity(counter(f"paged{n}"), "add", n + 1)
    until(lambda: all(state_of(client, f"paged{n}") for n in range(5)))
    query = EntityQuery(instance_id_starts_with="@counter_entity@paged", include_state=True, page_size=2)
    assert sorted(each.get_typed_state(int) or 0 for each in client.get_all_entities(query)) == [
        1,
        2,
        3,
        4,
        5,
    ]


def test_entities_are_found_by_when_they_were_modified(live: LiveHub, client: TaskHubGrpcClient) -> None:
    for n in range(3):
        client.signal_entity(counter(f"hourly{n}"), "add", 1)
        until(lambda n=n: state_of(client, f"hourly{n}"))
        live.advance(timedelta(hours=1))
        live.run(live.hub.get_instance(pb.GetInstanceRequest()))  # by now the clock has been moved
    now = datetime.fromtimestamp(live.clock.now() / 1e6, UTC)
    query = EntityQuery(
        instance_id_starts_with="@counter_entity@hourly",
        last_modified_from=now - timedelta(hours=2.5),
        last_modified_to=now - timedelta(hours=1.5),
    )
    assert [each.id.key for each in client.get_all_entities(query)] == ["hourly1"]


def test_an_orphaned_lock_can_be_released(tmp_path: Path) -> None:
    hub = LiveHub(tmp_path / "hub.db")
    try:
        orphan = "@counter_entity@orphan"
        hub.run(put_orphaned_lock(hub, orphan))
        cleaned = hub.run(
            hub.hub.clean_entity_storage(
                pb.CleanEntityStorageRequest(removeEmptyEntities=True, releaseOrphanedLocks=True)
            )
        )
        assert (cleaned.emptyEntitiesRemoved, cleaned.orphanedLocksReleased) == (1, 1)
    finally:
        hub.close()


async def put_orphaned_lock(hub: LiveHub, entity_id: str) -> None:
    """A lock whose holder is gone, as a database from elsewhere may hold."""
    engine = hub.hub._engine

    def put() -> None:
        entity = engine.state.entity(entity_id)
        entity.locked_by, entity.section = "nobody", "s"
        engine.state.save_entity(entity)

    await engine.change(put)


def test_two_workers_lose_and_double_no_update(live: LiveHub, client: TaskHubGrpcClient) -> None:
    second = worker(live.address, counter_entity, reads, adds)
    try:
        ids = [client.schedule_new_orchestration(adds, input=["shared", 10]) for _ in range(20)]
        for instance_id in ids:
            result(client, instance_id)
    finally:
        second.stop()
    assert state_of(client, "shared") == 200
