"""Nothing that an orchestrator reaches asks for the time, for chance or for anything outside."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from determinism import reachable, violations

ROOT = Path(__file__).parents[2]
ORCHESTRATION = [ROOT / "aos/functions/orchestrators.py"]
KERNEL = sorted((ROOT / "aos/kernel").rglob("*.py"))
ALLOWED = {"aos/services/environment/clock.py": {"time.time"}}
"""It defines the system clock, which the check forbids to use, beside the pure `timestamp`."""


def test_what_orchestrators_reach_is_deterministic() -> None:
    files = sorted({*reachable(ROOT, "aos", ORCHESTRATION), *KERNEL})
    found = []
    for file in files:
        name = str(file.relative_to(ROOT))
        allowed = ALLOWED.get(name, set())
        found += [
            f"{name}:{each}" for each in violations(file.read_text()) if each.split(": ")[1] not in allowed
        ]
    assert not found, "\n".join(found)


def test_the_check_follows_imports_into_the_shells_and_the_kernel() -> None:
    names = {str(file.relative_to(ROOT)) for file in reachable(ROOT, "aos", ORCHESTRATION)}
    assert {
        "aos/functions/workflow_shell.py",
        "aos/functions/step_shell.py",
        "aos/functions/outcomes.py",
        "aos/kernel/workflows/engine.py",
        "aos/kernel/workflows/state.py",
    } <= names
    assert "aos/functions/activities.py" not in names


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\nnow = time.time()", "2: time.time"),
        ("from time import monotonic as tick\ntick()", "2: time.monotonic"),
        ("import time\ndef f(clock=time.time): ...", "2: time.time"),
        ("import random\nrandom.shuffle([])", "2: random.shuffle"),
        ("from uuid import uuid4\nuuid4()", "2: uuid.uuid4"),
        ("import os\nos.environ['A']", "2: os.environ"),
        ("from os import environ\nenviron.get('A')", "2: os.environ.get"),
        ("from datetime import datetime, UTC\ndatetime.now(UTC)", "2: datetime.datetime.now"),
        ("import datetime as dt\ndt.datetime.utcnow()", "2: datetime.datetime.utcnow"),
        (
            "from datetime import datetime\ndatetime.fromtimestamp(1)",
            "2: datetime.datetime.fromtimestamp without a time zone",
        ),
        ("with open('f') as f: f.read()", "1: builtins.open"),
        ("hash('a')", "1: builtins.hash"),
        ("from pathlib import Path\nPath('f').read_text()", "2: pathlib.Path"),
        (
            "from aos.services.environment.clock import system_clock as now\nnow()",
            "2: aos.services.environment.clock.system_clock",
        ),
        ("import socket\nsocket.create_connection(('h', 1))", "2: socket.create_connection"),
        ("def f():\n    from secrets import token_hex\n    return token_hex()", "3: secrets.token_hex"),
    ],
)
def test_what_differs_between_replays_is_found(source: str, found: str) -> None:
    assert found in violations(source)


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import datetime, UTC\ndatetime.fromtimestamp(1, UTC)",
        "def f(time):\n    return time.time()",
        "class Door:\n    def open(self): ...\nDoor().open()",
        "context.current_utc_datetime",
    ],
)
def test_what_is_the_same_at_each_replay_is_not_found(source: str) -> None:
    assert violations(source) == []


REPLAY = """
from golden import load, replay
for name in ("launched", "compensated"):
    found = replay(load(name))
    assert not found, found[0]
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_order_of_sets_does_not_show(seed: str) -> None:
    environment = {
        **os.environ,
        "PYTHONHASHSEED": seed,
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, Path(__file__).parent))),
    }
    done = subprocess.run(
        [sys.executable, "-c", REPLAY],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
