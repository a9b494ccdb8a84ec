"""What `aos` does without a server: help, wrong usage, validation, keys."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import AOS, Command, environment

VALID = """
name: greet
steps:
  - {id: look, kind: agent, agent: cfo, task: "look"}
"""
WRONG = """
name: greet
steps:
  - {id: look, kind: agent, agent: nobody, task: "look", needs: [gone]}
  - {id: act, kind: tool, tool: hammer, when: "1 +"}
"""


def test_help_documents_every_exit_code(aos: Command) -> None:
    text = " ".join(aos("--help").stdout.split())

    assert all(f" {code} " in text for code in (0, 1, 2, 3, 4, 5, 6, 130))


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from aos.cli.main import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )

    loaded = set(done.stderr.split())
    assert not loaded & {"httpx", "pydantic", "rich", "yaml", "cryptography", "grpc", "aos.local", "aos.sdk"}


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (["frobnicate"], 2, "usage"),
        (["run", "strategic-review"], 2, "usage"),
        (["run", "strategic-review", "--input", "missing.json"], 2, "invalid_input"),
        (["run", "strategic-review", "--input", "-"], 2, "invalid_input"),
        (["ps", "--url", "ftp://example"], 2, "invalid_setting"),
        (["ps", "--url", "http://127.0.0.1:1"], 6, "unavailable"),
        (["audit", "verify", "missing.jsonl", "--key", "missing.pem"], 2, "invalid_input"),
        (["key", "revoke", "nothing"], 3, "not_found"),
        (["key", "create", "me", "--role", "No Role"], 2, "invalid_input"),
        (["up", "--app", "missing", "--data", "data", "--port", "x"], 2, "usage"),
    ],
)
def test_an_error_is_one_line_with_its_code(aos: Command, arguments: list[str], code: int, name: str) -> None:
    done = aos(*arguments, stdin="[]")

    assert (done.returncode, done.stdout) == (code, "")
    assert re.fullmatch(rf"error: [^\n]+ \[{name}\]\n", done.stderr)


def test_a_key_that_cannot_be_one_is_not_repeated(aos: Command) -> None:
    done = aos("ps", env={"AOS_KEY": "geheim\u00fc"})

    assert done.returncode == 2
    assert "geheim" not in done.stderr


def test_output_that_nobody_reads_is_no_traceback(aos: Command) -> None:
    aos("key", "create", "Ada", "--role", "viewer")
    with subprocess.Popen(
        [*AOS, "key", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=aos.folder, env=aos.env
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_full_disk_is_one_line(aos: Command) -> None:
    aos("key", "create", "Ada", "--role", "viewer")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*AOS, "key", "list"], stdout=full, stderr=subprocess.PIPE, text=True,
            cwd=aos.folder, env=aos.env, check=False,
        )  # fmt: skip

    assert done.returncode == 2
    assert re.fullmatch(r"error: [^\n]+ \[unusable_file\]\n", done.stderr)


def test_a_file_is_written_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"before")
    code = "from aos.cli.files import write_bytes; write_bytes('kept', b'x' * 100_000)"
    limit = 4096

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        check=False,
    )

    assert done.returncode != 0
    assert (tmp_path / "kept").read_bytes() == b"before"


def test_validate_accepts_a_workflow_of_the_application(aos: Command) -> None:
    done = aos("validate", "-", "--json", stdin=VALID)

    assert (done.returncode, json.loads(done.stdout)) == (0, {"valid": True, "workflow": "greet", "steps": 1})


def test_validate_lists_every_problem_with_step_and_field(aos: Command) -> None:
    done = aos("validate", "-", stdin=WRONG)

    assert done.returncode == 1
    found = re.findall(r"step (\w+), field (\w+):", done.stdout)
    assert sorted(found) == [("act", "tool"), ("act", "when"), ("look", "agent"), ("look", "needs")]
    assert done.stderr == "error: - has 4 problems [invalid_definition]\n"


def test_validate_takes_the_application_of_the_current_folder(aos: Command, tmp_path: Path) -> None:
    (tmp_path / "smithy.py").write_text(
        "from aos.sdk import Application, tool\n\n"
        "@tool(effect='none')\ndef hammer() -> int:\n    '''Hit.'''\n    return 1\n\n"
        "application = Application('smithy', agents=[], tools=[hammer])\n"
    )
    (tmp_path / "broken.py").write_text("1 / 0\n")
    workflow = "name: work\nsteps: [{id: hit, kind: tool, tool: hammer}]"

    assert aos("validate", "-", stdin=workflow, env={"AOS_APPLICATION": "smithy"}).returncode == 0
    broken = aos("validate", "-", stdin=workflow, env={"AOS_APPLICATION": "broken"})
    assert broken.returncode == 2
    assert re.fullmatch(
        r"error: application 'broken' .*ZeroDivisionError.* \[invalid_setting\]\n", broken.stderr
    )


def test_a_key_is_shown_once_listed_without_its_text_and_revoked(aos: Command) -> None:
    made = json.loads(aos("key", "create", "Ada", "--role", "approver", "--role", "board", "--json").stdout)
    listed = aos("key", "list")
    revoked = json.loads(aos("key", "revoke", made["id"], "--json").stdout)

    assert made["key"].startswith(f"aos_{made['id']}_")
    assert made["roles"] == ["approver", "board"]
    assert made["id"] in listed.stdout
    assert made["key"] not in listed.stdout
    assert revoked["revoked_at"]


def test_keys_are_not_looked_for_in_a_mistyped_folder(aos: Command, tmp_path: Path) -> None:
    done = aos("key", "list", "--data", "mistyped")

    assert (done.returncode, done.stdout) == (3, "")
    assert "mistyped" in done.stderr
    assert not (tmp_path / "mistyped").exists()


def test_a_setting_that_does_not_exist_is_named(aos: Command) -> None:
    done = aos("key", "list", env={"AOS_DATTA": "x"})

    assert done.returncode == 2
    assert "AOS_DATTA" in done.stderr
