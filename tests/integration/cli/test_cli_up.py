"""`aos up` and `aos demo` with the real host, worker, hub and broker."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from cli_process import AOS, PATIENCE_S, ROOT, Command, environment
from model_endpoint import model_endpoint

PROPOSALS = ROOT / "apps" / "leadership" / "proposals"


@contextlib.contextmanager
def up(folder: Path, *options: str, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `aos up` until it serves; gives the process and its URL."""
    log = folder / "up.log"
    with log.open("w") as stderr, subprocess.Popen(
        [*AOS, "up", "--port", str(port), *options],
        stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=folder, env=environment(),
    ) as process:  # fmt: skip
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not (found := re.search(r"serving .* at (http://\S+),", log.read_text())):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield process, found[1]
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def test_up_makes_a_key_on_fresh_data_and_serves_what_it_is_then_asked(tmp_path: Path) -> None:
    with up(tmp_path) as (process, url):
        assert process.stdout is not None
        shown = process.stdout.readline() + process.stdout.readline() + process.stdout.readline()
        key = re.search(r"export AOS_KEY=(aos_\S+)", shown)
        assert key is not None, shown
        aos = Command(tmp_path, environment(AOS_URL=url, AOS_KEY=key[1]))
        poor = str(PROPOSALS / "loyalty-platform.json")
        done = aos("run", "strategic-review", "--input", poor, "--follow")
        assert (done.returncode, done.stderr) == (0, "")
        assert '"decision": "reject"' in done.stdout
        assert json.loads(aos("ps", "--json").stdout)["runs"][0]["status"] == "completed"
    assert process.returncode == 0
    with up(tmp_path, "--json") as (process, _):
        assert process.stdout is not None
        assert json.loads("".join(process.stdout.readline() for _ in range(3))) == {"key": None}


def test_follow_outlives_a_restart_of_the_host(tmp_path: Path) -> None:
    key = Command(tmp_path, environment())(
        "key", "create", "all", "--role", "operator", "--role", "approver"
    ).stdout.strip()
    good = str(PROPOSALS / "warehouse-automation.json")
    with up(tmp_path) as (_, url):
        env = environment(AOS_URL=url, AOS_KEY=key)
        follower = subprocess.Popen(
            [*AOS, "run", "strategic-review", "--input", good, "--follow"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
        )  # fmt: skip
        assert follower.stdout is not None
        run = follower.stdout.readline().split()[1]
        while "aos approve" not in follower.stdout.readline():
            assert follower.poll() is None
    with up(tmp_path, port=int(url.rpartition(":")[2])):
        assert Command(tmp_path, env)("approve", run, "board", "--reason", "go").returncode == 0
        out, err = follower.communicate(timeout=PATIENCE_S)

    assert (follower.returncode, err) == (0, "")
    assert '"decision": "approve"' in out


def test_up_serves_another_app_and_makes_no_key_for_it(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "host.json").write_text('{"version": "2.0"}')
    (app / "function_app.py").write_text(
        "import azure.functions as func\n\n"
        "app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)\n\n"
        "@app.route(route='hello')\n"
        "def hello(req: func.HttpRequest) -> func.HttpResponse:\n"
        "    return func.HttpResponse('hello')\n"
    )
    with up(tmp_path, "--app", str(app)) as (process, url):
        assert httpx.get(f"{url}/api/hello", trust_env=False).text == "hello"
    assert process.stdout is not None
    assert not (tmp_path / ".aos" / "aos").exists()


def test_up_on_a_port_in_use_says_so_and_exits_2(aos: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = aos("up", "--port", str(port))

    assert done.returncode == 2
    assert f"port {port}" in done.stderr
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert '"keys": []' in aos("key", "list", "--json").stdout  # so the next start shows the first one


def test_up_with_a_signing_key_that_cannot_be_read_says_so_and_exits_2(aos: Command, tmp_path: Path) -> None:
    key = tmp_path / ".aos" / "aos" / "signing-key.pem"
    key.parent.mkdir(parents=True)
    key.write_text("not a key")

    done = aos("up", "--port", "0")

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert str(key) in done.stderr


def test_demo_reviews_three_proposals_and_all_comes_out_as_it_should(aos: Command, tmp_path: Path) -> None:
    done = aos("demo")

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert len(re.findall(r"dossier .*records, verified", done.stdout)) == 3
    assert "net present value 1,230,191 USD" in done.stdout
    assert "decision   reject" in done.stdout
    assert "released   2,350,000 USD" in done.stdout
    assert "by mock\n" in done.stdout
    hint = done.stdout.splitlines()[-1].split()
    assert subprocess.run(hint, cwd=tmp_path, env=aos.env, capture_output=True, check=False).returncode == 0
    assert sorted(path.name for path in (tmp_path / "var").iterdir()) == [
        "audit-key.pem", "dossier-battery-storage.jsonl", "dossier-loyalty-platform.jsonl",
        "dossier-warehouse-automation.jsonl",
    ]  # fmt: skip


def test_demo_fails_naming_what_differs(tmp_path: Path) -> None:
    for name in ("aos", "apps"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("function_app.py", "host.json"):
        shutil.copy(ROOT / name, tmp_path)
    topology = ROOT / "infra" / "servicebus.json"
    (tmp_path / "infra").mkdir()
    shutil.copy(topology, tmp_path / "infra")
    file = tmp_path / "apps" / "leadership" / "proposals" / "warehouse-automation.json"
    proposal = json.loads(file.read_text())
    proposal["cash_flows"][1:] = [100_000] * 7
    file.write_text(json.dumps(proposal))

    done = Command(tmp_path, environment(PYTHONPATH=str(tmp_path)))("demo", "--json")

    assert done.returncode == 1, done.stderr
    assert "warehouse-automation: the decision is reject, not approve [unexpected_outcome]" in done.stderr
    result = json.loads(done.stdout)
    assert result["ok"] is False
    assert [bool(each["problems"]) for each in result["proposals"]] == [True, False, False]


def test_demo_takes_the_model_of_the_environment_and_accepts_its_decisions(aos: Command) -> None:
    with model_endpoint() as url:
        model = {
            "AOS_MODEL": "toy", "AOS_MODEL_BASE_URL": url, "AOS_MODEL_API_KEY": "k",
            "AOS_MODEL_PRICE_INPUT": "1", "AOS_MODEL_PRICE_OUTPUT": "2",
        }  # fmt: skip
        done = aos("demo", env=model)

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.count("decision   reject") == 3
    assert done.stdout.count("by openai toy") == 3
    assert "mock" not in done.stdout


def test_demo_of_an_app_that_does_not_load_says_why_and_keeps_the_log(aos: Command, tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    (tmp_path / "function_app.py").write_text("import nothing_of_that_name\n")
    shutil.copytree(PROPOSALS, tmp_path / "apps" / "leadership" / "proposals")

    done = aos("demo", "--json")

    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(r"^error: .*nothing_of_that_name.* \[host_failed\]$", done.stderr, re.MULTILINE)
    assert [*(tmp_path / "var").glob("demo-*/host.log")]


def test_demo_leaves_nothing_behind_on_ctrl_c(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*AOS, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env=environment(),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        while "1 of 3" not in process.stdout.readline():
            assert process.poll() is None
        children = children_of(process.pid)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)

    assert children
    assert (process.returncode, err) == (130, "")
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert not [path for path in (tmp_path / "var").iterdir() if path.is_dir()]


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_demo_needs_an_empty_data_folder(aos: Command, tmp_path: Path) -> None:
    done = aos("demo", "--data", str(tmp_path.parent))

    assert done.returncode == 2
    assert done.stderr.endswith("[invalid_input]\n")


def test_demo_with_a_wrong_setting_starts_nothing(aos: Command, tmp_path: Path) -> None:
    done = aos("demo", env={"AOS_MODDEL": "x"})

    assert (done.returncode, done.stdout) == (2, "")
    assert "AOS_MODDEL" in done.stderr
    assert not (tmp_path / "var").exists()
