"""Durable functions, Service Bus triggers and timers through one host process, worker crashes included."""

import json
import os
import signal
import uuid
from pathlib import Path
from typing import Any

from host_process import APPS, HostProcess


def start(host: HostProcess, name: str, given: Any = None, **query: str) -> str:
    answer = host.http.post(f"/start/{name}", content=json.dumps(given), params=query)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def start_crashing(host: HostProcess, name: str, given: Any = None) -> str:
    """Start what ends its worker; the request that starts it may die with that."""
    instance_id = uuid.uuid4().hex
    answer = host.http.post(f"/start/{name}", content=json.dumps(given), params={"id": instance_id})
    assert answer.status_code in (200, 502), answer.text
    host.wait_for_trace(f"crash {instance_id}", 2)
    return instance_id


def result(host: HostProcess, instance_id: str) -> dict[str, Any]:
    answer = host.http.get(f"/result/{instance_id}")
    assert answer.status_code == 200, host.log
    document: dict[str, Any] = answer.json()
    return document


def output(host: HostProcess, name: str, given: Any = None) -> Any:
    ended = result(host, start(host, name, given))
    assert ended["status"] == "COMPLETED", ended
    return json.loads(ended["output"])


def send(host: HostProcess, queue: str, body: str, message_id: str) -> None:
    """Accepted as soon as it is in the queue; the request itself may die with a crashing worker."""
    answer = host.http.post(f"/send/{queue}", content=body, params={"id": message_id})
    assert answer.status_code in (200, 502), host.log


def test_an_orchestration_chains_activities(work: HostProcess) -> None:
    assert output(work, "chain", 40) == 42


def test_a_function_runs_under_its_other_name_and_its_logs_carry_the_invocation(
    work: HostProcess,
) -> None:
    assert output(work, "renamed") == "renamed"
    work.wait_for_log("activity logged")
    line = next(line for line in work.log.splitlines() if " activity logged " in line)
    invocation_id = line.split()[-4]
    assert f"info     {invocation_id} root: inside the activity" in work.log
    assert "worker   | printed by the activity" in work.log


def test_an_activitys_failure_keeps_its_type_and_its_whole_message(work: HostProcess) -> None:
    assert output(work, "calling", "refuse") == ["OrderError", "order 7 is closed:\nno more changes"]


def test_an_activitys_failure_without_a_message_is_still_a_failure(work: HostProcess) -> None:
    assert output(work, "calling", "refuse_silently") == ["OrderError", ""]


def test_an_activitys_result_that_cannot_be_encoded_is_its_failure(work: HostProcess) -> None:
    kind, message = output(work, "calling", "unencodable")
    assert kind == "ValueError"
    assert "must be json serializable" in message


def test_an_unknown_activity_fails_with_its_name_and_those_that_exist(work: HostProcess) -> None:
    kind, message = output(work, "calling", "no_such_activity")
    assert kind == "FunctionNotFound"
    assert "'no_such_activity'" in message
    assert "crash_once" in message


def test_the_root_says_nothing_where_the_homepage_is_disabled(work: HostProcess) -> None:
    assert work.http.get("/").status_code == 204


def test_what_fails_an_orchestration_or_an_operation_is_told(work: HostProcess) -> None:
    instance_id = start(work, "spoiling")
    assert result(work, instance_id)["status"] == "FAILED"
    work.wait_for_log(
        "operation spoil of entity @counter@spoilt failed: OrderError: a counter cannot be spoilt"
    )
    work.wait_for_log(f"orchestration {instance_id} of spoiling failed: ")


def begins(host: HostProcess, count: int, crash: int = -1) -> int:
    """How often an orchestration of so many steps is run from its beginning; one may end the worker."""
    begin = start if crash < 0 else start_crashing
    instance_id = begin(host, "stepping", [count, crash])
    assert result(host, instance_id)["output"] == str(count * (count - 1) // 2)
    return host.trace.count(f"begins {instance_id}")


def test_a_worker_keeps_an_orchestration_and_replays_it_after_1_2_4_and_8_turns(work: HostProcess) -> None:
    assert begins(work, 9) == 5


def test_an_orchestration_whose_worker_is_killed_is_replayed_in_the_next(work: HostProcess) -> None:
    assert begins(work, 9, crash=6) == 6


def test_an_orchestrator_that_is_not_deterministic_fails(work: HostProcess) -> None:
    ended = result(work, start(work, "fickle"))
    assert ended["status"] == "FAILED"
    assert ended["failure"][0].endswith("NonDeterminismError")


def test_each_turn_is_a_replay_without_extended_sessions_and_work_of_another_app_waits_for_that_app(
    tmp_path: Path,
) -> None:
    prefix = "AzureFunctionsJobHost__extensions__durableTask"
    env = {
        "JOBS_QUEUE": "jobs",
        "TICK": "0 0 0 1 1 *",
        f"{prefix}__storageProvider__workItemFilteringEnabled": "true",
        f"{prefix}__extendedSessionsEnabled": "false",
    }
    host = HostProcess(APPS / "work", tmp_path, "--grace", "1", env=env).ready()
    assert begins(host, 9) == 10
    started = host.http.post("/runtime/webhooks/durabletask/orchestrators/elsewhere")
    assert started.status_code == 202
    assert output(host, "chain", 40) == 42  # asked for later, and done
    assert output(host, "counting", "a") == 6
    assert host.http.get(started.json()["statusQueryGetUri"]).json()["runtimeStatus"] == "Pending"
    host.stop()


def test_an_entity_keeps_its_state_from_call_to_call(work: HostProcess) -> None:
    assert output(work, "counting", "a") == 6
    assert output(work, "counting", "a") == 12
    assert output(work, "counting", "b") == 6


def test_an_activity_whose_worker_is_killed_runs_again_in_the_next(work: HostProcess) -> None:
    pid = work.status()["workerPid"]
    instance_id = start_crashing(work, "crashing")
    assert result(work, instance_id)["output"] == "2"
    assert f"the worker (pid {pid}) was killed by signal 9; restarting it" in work.log
    assert work.status()["workerPid"] != pid


def test_a_message_reaches_its_function_with_its_properties_and_is_completed(work: HostProcess) -> None:
    send(work, "jobs", "do it", "plain")
    assert work.wait_for_trace("done plain") == ['done plain 1 {"tenant": "t1", "attempt": 2}']


def test_a_message_whose_function_fails_is_delivered_again(work: HostProcess) -> None:
    send(work, "jobs", "fail once", "retried")
    assert work.wait_for_trace("done retried")[0].startswith("done retried 2")


def test_a_message_that_always_fails_reaches_the_dead_letter_function(work: HostProcess) -> None:
    send(work, "jobs", "fail", "hopeless")
    assert work.wait_for_trace("dead hopeless") == ["dead hopeless MaxDeliveryCountExceeded"]
    assert len(work.wait_for_trace("job hopeless")) == 3  # the queue's limit


def test_a_message_whose_worker_is_killed_is_delivered_again(work: HostProcess) -> None:
    send(work, "jobs", "crash once", "crashed")
    assert work.wait_for_trace("done crashed")[0].startswith("done crashed 2")


def test_a_lock_is_renewed_while_the_function_runs(work: HostProcess) -> None:
    send(work, "jobs", "slow", "slow")
    assert work.wait_for_trace("done slow")[0].startswith("done slow 1")
    assert work.wait_for_trace("job slow") == ["job slow slow"]


def test_a_connection_that_is_not_set_becomes_the_local_broker_and_text_parameters_get_text(
    work: HostProcess,
) -> None:
    send(work, "tokens", "tëxt", "t")
    assert work.wait_for_trace("token") == ["token tëxt True"]


def test_timers_fire_on_schedule_and_at_start_when_asked(work: HostProcess) -> None:
    assert work.wait_for_trace("tick", 2)[:2] == ["tick False", "tick False"]
    assert work.wait_for_trace("at_start") == ["at_start False"]
    assert not any(line.startswith("nightly") for line in work.trace)


def test_a_timer_never_runs_twice_at_once(work: HostProcess) -> None:
    assert set(work.wait_for_trace("slow_tick", 2)) == {"slow_tick 1"}


def test_a_killed_host_goes_on_where_it_was(work: HostProcess) -> None:
    """The last test of this module: it kills the host that the others used."""
    start(work, "pausing", id="waiting")
    work.wait_for_log("activity add waiting")
    send(work, "jobs", "wait once", "interrupted")
    work.wait_for_trace("job interrupted")
    work.kill()
    timers = json.loads((work.folder / "data" / "timers.json").read_text())
    assert set(timers) == {"at_start", "nightly"}  # a timer that fires more often keeps no status
    overdue = {"last": "2026-01-01T03:00:00+00:00", "next": "2026-01-02T03:00:00+00:00", "updated": None}
    (work.folder / "data" / "timers.json").write_text(json.dumps({**timers, "nightly": overdue}))
    work.launch()
    work.ready()
    assert work.wait_for_trace("nightly") == ["nightly True 2026-01-01T03:00:00+00:00"]
    work.http.post("/raise/waiting/go", json=9)
    assert result(work, "waiting")["output"] == "10"
    assert work.wait_for_trace("done interrupted")[0].startswith("done interrupted 2")
    os.kill(work.process.pid, signal.SIGINT)
    assert work.end() == 0
