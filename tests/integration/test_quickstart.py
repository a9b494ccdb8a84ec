"""The quickstart does what it says: its files are written as they stand there, and its commands are run."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
AOS = Path(sys.executable).with_name("aos")
_FILE = re.compile(r"```\w+ title=(\S+)\n(.*?)```", re.DOTALL)


@dataclass
class Project:
    """A checkout with the quickstart's files in it, served by ``aos up``."""

    folder: Path
    environment: dict[str, str]

    def aos(self, *arguments: str, given: str | None = None, code: int = 0) -> Any:
        """Run a command with ``--json`` and return what it printed."""
        done = subprocess.run(
            [AOS, *arguments, "--json"],
            cwd=self.folder,
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def run(self, amount_usd: float, ordered_usd: float) -> str:
        proposal = {"supplier": "Acme", "amount_usd": amount_usd, "ordered_usd": ordered_usd}
        return str(self.aos("run", "pay-invoice", "--input", "-", given=json.dumps(proposal))["id"])

    def until(self, run: str, *statuses: str) -> Any:
        deadline = time.monotonic() + 60
        while (shown := self.aos("show", run))["status"] not in statuses:
            assert time.monotonic() < deadline, shown
        return shown


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("quickstart")
    for name in ("function_app.py", "host.json", "infra", "aos", "apps"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    for path, text in _FILE.findall((ROOT / "docs/quickstart.md").read_text()):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    environment = os.environ | {"AOS_APPLICATION": "apps.invoices", "PYTHONPATH": str(folder)}
    command = [AOS, "up", "--app", folder, "--data", folder / ".aos", "--port", "0"]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as host:
        assert host.stdout is not None
        try:
            said = ""
            for line in host.stdout:
                said += line
                if " at http://" in line:
                    break
            key = re.search(r"aos_\w+_[\w-]+", said)
            url = re.search(r"http://[\d.:]+", said)
            assert key, said
            assert url, said
            yield Project(folder, environment | {"AOS_KEY": key[0], "AOS_URL": url[0]})
        finally:
            host.send_signal(signal.SIGINT)
            host.communicate(timeout=30)


def test_the_workflow_of_the_quickstart_is_valid(project: Project) -> None:
    assert project.aos("validate", "apps/invoices/pay-invoice.yaml")


def test_an_invoice_that_matches_is_paid_at_once(project: Project) -> None:
    shown = project.until(project.run(120.5, 120.5), "completed", "failed")
    assert shown["output"] == {"matches": True, "paid": True}


def test_an_invoice_that_does_not_match_is_not_paid(project: Project) -> None:
    shown = project.until(project.run(121, 120), "completed", "failed")
    assert shown["output"] == {"matches": False, "paid": False}


def test_a_large_payment_waits_for_a_person_and_its_dossier_verifies(project: Project) -> None:
    run = project.run(5000, 5000)
    project.until(run, "waiting")
    project.aos("approve", run, "payment", "--reason", "the goods arrived")
    shown = project.until(run, "completed", "failed")
    assert shown["output"] == {"matches": True, "paid": True}
    project.aos("dossier", run, "-o", "invoice.jsonl")
    verified = project.aos("audit", "verify", "invoice.jsonl", "--key", ".aos/aos/signing-key.pem.pub")
    assert verified["run"] == run
