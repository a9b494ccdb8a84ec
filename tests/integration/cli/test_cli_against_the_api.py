"""Each command as a process of its own, against the real API."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import AOS, INPUT, PATIENCE_S, WORKFLOW, Command, Server, environment

from aos.kernel.governance.audit.records import FactType
from aos.services.runs.run import RunStatus

type As = Callable[[str], Command]


def begun(server: Server) -> str:
    async def work() -> str:
        run = await server.api.start()
        await server.api.begin(run)
        return run

    return server.do(work())


def ended(server: Server, status: RunStatus = RunStatus.COMPLETED) -> str:
    run = begun(server)
    server.do(server.api.end(run, status, reason=None if status is RunStatus.COMPLETED else "it broke"))
    return run


def test_run_prints_the_id_of_the_run_it_started(aos_as: As, server: Server) -> None:
    done = aos_as("operator")("run", WORKFLOW, "--input", "-", stdin=json.dumps(INPUT))

    assert (done.returncode, done.stderr) == (0, "")
    assert server.do(server.api.show(done.stdout.strip()))["status"] == "accepted"


def test_run_with_a_budget_and_a_key_starts_one_run_however_often(aos_as: As, tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(json.dumps(INPUT))
    command = ("run", WORKFLOW, "--input", "in.json", "--budget", "0.5", "--key", "once", "--json")

    first, second = (json.loads(aos_as("operator")(*command).stdout) for _ in range(2))

    assert first["id"] == second["id"]
    assert first["budget_usd"] == 0.5


def test_the_same_key_with_another_input_is_a_conflict(aos_as: As) -> None:
    command = ("run", WORKFLOW, "--input", "-", "--key", "twice")
    aos_as("operator")(*command, stdin=json.dumps(INPUT))

    done = aos_as("operator")(*command, stdin=json.dumps(INPUT | {"title": "Another"}))

    assert done.returncode == 5
    assert done.stdout == ""
    assert re.fullmatch(r"error: .*\[conflict\]\n", done.stderr)


def follow(server: Server, *options: str, role: str = "operator") -> subprocess.Popen[str]:
    env = environment(AOS_URL=server.api.url, AOS_KEY=server.api.keys[role])
    process = subprocess.Popen(
        [*AOS, "run", WORKFLOW, "--input", "-", "--follow", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(INPUT))
    process.stdin.close()
    process.stdin = None
    return process


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def carry_out(server: Server, run: str, status: RunStatus) -> None:
    """Do what the orchestration of a run would do."""

    async def work() -> None:
        api = server.api
        await api.begin(run)
        await api.record(run, FactType.STEP_SCHEDULED, step="finance", attempt=1)
        await api.record(run, FactType.STEP_COMPLETED, {"cost_micro_usd": 1900}, step="finance", attempt=1)
        await api.end(run, status, reason=None if status is RunStatus.COMPLETED else "it broke")

    server.do(work())


def test_follow_in_a_pipe_prints_a_line_for_each_change(server: Server) -> None:
    process = follow(server)
    run = first_line(process).split()[1]
    carry_out(server, run, RunStatus.COMPLETED)

    out, err = process.communicate(timeout=PATIENCE_S)

    assert (process.returncode, err) == (0, "")
    assert re.search(r"finance +cfo +completed .*\$0\.0019", out)
    assert re.search(r"^  completed  ", out, re.MULTILINE)


def test_follow_of_a_run_that_fails_exits_1_and_says_why(server: Server) -> None:
    process = follow(server)
    carry_out(server, first_line(process).split()[1], RunStatus.FAILED)

    out, _ = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 1
    assert "it broke" in out


def test_follow_as_json_prints_the_run_its_events_and_the_run_as_it_ended(server: Server) -> None:
    process = follow(server, "--json")
    run = json.loads(first_line(process))["run"]["id"]
    carry_out(server, run, RunStatus.COMPLETED)

    out, _ = process.communicate(timeout=PATIENCE_S)

    *events, last = map(json.loads, out.splitlines())
    assert [event["type"] for event in events] == [
        "run.started", "step.scheduled", "step.completed", "run.ended",
    ]  # fmt: skip
    assert last["type"] == "run"
    assert last["run"]["status"] == "completed"


def test_ctrl_c_while_following_ends_quietly_with_130(server: Server) -> None:
    process = follow(server)
    first_line(process)

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)

    assert (process.returncode, err) == (130, "")


def test_follow_on_a_terminal_draws_the_steps_as_a_tree(server: Server) -> None:
    master, slave = pty.openpty()
    env = environment(
        AOS_URL=server.api.url, AOS_KEY=server.api.keys["operator"], TERM="xterm", COLUMNS="120"
    )
    known = {run["id"] for run in runs(server)}
    process = subprocess.Popen(
        [*AOS, "run", WORKFLOW, "--input", "-", "--follow"],
        stdin=subprocess.PIPE, stdout=slave, stderr=slave, env=env,
    )  # fmt: skip
    os.close(slave)
    assert process.stdin is not None
    process.stdin.write(json.dumps(INPUT).encode())
    process.stdin.close()
    deadline = time.monotonic() + PATIENCE_S
    while not (new := [run["id"] for run in runs(server) if run["id"] not in known]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    carry_out(server, new[0], RunStatus.COMPLETED)

    drawn = read_all(master)

    assert process.wait(PATIENCE_S) == 0
    assert "├── " in drawn
    assert re.search(r"✔ finance +.*cfo +.*completed", drawn)
    assert "\x1b[" in drawn


def runs(server: Server) -> list[dict[str, str]]:
    response = server.do(server.api.as_("viewer").get("/api/runs"))
    found: list[dict[str, str]] = response.json()["runs"]
    return found


def read_all(master: int) -> str:
    pieces = []
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # what Linux says when the other side is closed
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(master)
    return b"".join(pieces).decode()


def test_ps_lists_runs_of_a_status_newest_first(aos_as: As, server: Server) -> None:
    older, newer = ended(server, RunStatus.CANCELLED), ended(server, RunStatus.CANCELLED)
    begun(server)

    lines = aos_as("viewer")("ps", "--status", "cancelled", "--limit", "2").stdout.splitlines()

    assert lines[0].startswith("RUN ")
    assert [line.split()[0] for line in lines[1:]] == [newer, older]


def test_ps_goes_on_from_page_to_page_up_to_its_limit(aos_as: As, server: Server) -> None:
    async def many() -> None:
        await asyncio.gather(*(server.api.start() for _ in range(105)))

    server.do(many())

    found = json.loads(aos_as("viewer")("ps", "--limit", "103", "--json").stdout)

    assert len({run["id"] for run in found["runs"]}) == 103
    assert found["next"]


def test_show_prints_the_tree_and_what_waits_for_approval(aos_as: As, server: Server) -> None:
    run = begun(server)
    server.do(server.api.ask(run))

    done = aos_as("viewer")("show", run)

    assert done.returncode == 0
    assert f"aos approve {run} board" in done.stdout
    assert '"amount_usd": 1000.0' in done.stdout
    assert "\x1b" not in done.stdout


def test_show_as_json_is_the_run_as_the_api_gives_it(aos_as: As, server: Server) -> None:
    run = ended(server)

    assert json.loads(aos_as("viewer")("--json", "show", run).stdout) == server.do(server.api.show(run))


def test_text_from_a_run_cannot_command_the_terminal(aos_as: As, server: Server) -> None:
    run = begun(server)
    server.do(server.api.end(run, RunStatus.FAILED, reason="red \x1b[31m and back \x1b[2K\rhidden\u202e"))

    shown = aos_as("viewer")("show", run).stdout

    assert "hidden" in shown
    assert not {"\x1b", "\r", "\u202e"} & set(shown)


def test_cancel_asks_the_run_to_stop(aos_as: As, server: Server) -> None:
    run = begun(server)

    done = aos_as("operator")("cancel", run, "--reason", "not now")

    assert done.returncode == 0
    assert server.do(server.api.system.runs.get(run)).cancel == {
        "actor": server.api.actor("operator"),
        "reason": "not now",
    }


@pytest.mark.parametrize(("option", "state"), [((), "approved"), (("--reject",), "rejected")])
def test_approve_decides_on_the_action_that_it_shows(
    aos_as: As, server: Server, option: tuple[str, ...], state: str
) -> None:
    run = begun(server)
    server.do(server.api.ask(run, role="board"))
    both = server.do(server.api.system.keys.create("chair", ["board", "viewer"], "default"))[0]

    done = aos_as("viewer")("approve", run, "board", *option, "--reason", "seen", env={"AOS_KEY": both})

    assert (done.returncode, done.stderr) == (0, "")
    assert "tool.call reserve_funds" in done.stdout
    assert '"amount_usd": 1000.0' in done.stdout
    approval = server.do(server.api.show(run))["approvals"][0]
    assert (approval["state"], approval["reason"]) == (state, "seen")


def test_approve_by_the_wrong_role_is_denied_and_changes_nothing(aos_as: As, server: Server) -> None:
    run = begun(server)
    server.do(server.api.ask(run, role="board"))
    before = server.do(server.api.show(run))

    done = aos_as("operator")("approve", run, "board", "--reason", "please")

    assert done.returncode == 4
    assert done.stderr.endswith("[policy_denied]\n")
    assert server.do(server.api.show(run)) == before


def test_approve_of_a_step_that_asks_nothing_is_not_found(aos_as: As, server: Server) -> None:
    done = aos_as("operator")("approve", begun(server), "board", "--reason", "please")

    assert done.returncode == 3
    assert done.stderr.endswith("[not_found]\n")


def test_resolve_needs_no_reason(aos_as: As, server: Server) -> None:
    run = begun(server)
    effect = server.do(server.api.lose(run))

    assert aos_as("operator")("resolve", run, effect, "--happened").returncode == 0
    assert server.do(server.api.show(run))["effects"][0]["state"] != "unknown"


def test_resolve_says_what_came_of_an_effect(aos_as: As, server: Server) -> None:
    run = begun(server)
    effect = server.do(server.api.lose(run))
    operator = aos_as("operator")

    assert f"aos resolve {run} {effect}" in operator("show", run).stdout
    done = operator("resolve", run, effect, "--not-happened", "--reason", "asked them")

    assert done.returncode == 0
    assert "did not happen" in done.stdout
    assert server.do(server.api.show(run))["effects"][0]["state"] != "unknown"


def test_a_dossier_is_saved_and_verified_and_a_changed_one_refused(
    aos_as: As, server: Server, tmp_path: Path
) -> None:
    run, viewer = ended(server), aos_as("viewer")

    assert viewer("dossier", run, "-o", "run.jsonl").returncode == 0
    assert viewer("audit", "key", "-o", "key.pem").returncode == 0
    good = viewer("audit", "verify", "run.jsonl", "--key", "key.pem", "--json")
    dossier = (tmp_path / "run.jsonl").read_bytes()
    (tmp_path / "bad.jsonl").write_bytes(dossier.replace(b'"status":"completed"', b'"status":"cancelled"'))
    bad = viewer("audit", "verify", "bad.jsonl", "--key", "key.pem", "--json")

    assert (good.returncode, json.loads(good.stdout)["run"]) == (0, run)
    assert bad.returncode == 1
    assert json.loads(bad.stdout)["record"] == 1
    assert re.fullmatch(r"error: bad.jsonl is refused: .*record 1.*\[integrity\]\n", bad.stderr)


def test_the_dossier_of_a_run_under_way_is_a_conflict_and_leaves_no_file(
    aos_as: As, server: Server, tmp_path: Path
) -> None:
    done = aos_as("viewer")("dossier", begun(server), "-o", "run.jsonl")

    assert done.returncode == 5
    assert [*tmp_path.iterdir()] == []


def test_agents_are_listed(aos_as: As) -> None:
    assert {"ceo", "cfo", "cto"} <= {
        line.split()[0] for line in aos_as("viewer")("agents").stdout.splitlines()
    }


@pytest.mark.parametrize(
    ("role", "arguments", "code", "name"),
    [
        ("viewer", ["show", "0" * 32], 3, "not_found"),
        ("operator", ["run", "nothing", "--input", "-"], 3, "not_found"),
        ("operator", ["run", WORKFLOW, "--input", "-"], 2, "invalid_input"),
        ("viewer", ["run", WORKFLOW, "--input", "-"], 4, "forbidden"),
        ("wrong", ["ps"], 4, "unauthenticated"),
    ],
)
def test_an_answer_that_is_an_error_is_one_line_with_its_code(
    aos_as: As, role: str, arguments: list[str], code: int, name: str
) -> None:
    done = aos_as(role)(*arguments, stdin="{}")

    assert (done.returncode, done.stdout) == (code, "")
    assert re.fullmatch(rf"error: [^\n]+ \[{name}\]\n", done.stderr)
