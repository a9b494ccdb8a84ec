"""Record the golden histories anew: `.venv/bin/python tests/replay/record.py [NAME ...]`.

Do this deliberately, never to make a failing replay pass. A replay that fails says that runs which are
under way when this code is deployed would break or act otherwise: keep what the orchestrators do for
the current engine version, or give the change a new version (`ENGINE`) and keep the old path until no
run is on it. Record anew when that is done, or when no deployed run can have such a history.

The real app runs in the local host with the mock model and takes `strategic-review` through each
scenario over its HTTP API; each turn of its orchestrators is written down as the worker is given it.
"""

import base64
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import durabletask.internal.orchestrator_service_pb2 as pb

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from golden import History, assemble, save  # noqa: E402 - the path is made above

from bench.reviews import Reviews, served  # noqa: E402

USUAL_TURNS = 150
FEW_TURNS = 6


def launched(reviews: Reviews) -> str:
    """A proposal that the board approves and that launches."""
    return _approved(reviews, "warehouse-automation")


def rejected(reviews: Reviews) -> str:
    """A proposal that the CEO rejects."""
    run = reviews.start("loyalty-platform")
    reviews.ended(run)
    return run


def compensated(reviews: Reviews) -> str:
    """A proposal whose launch fails, so that the reserved funds are released."""
    return _approved(reviews, "battery-storage")


def cancelled(reviews: Reviews) -> str:
    """A run that is cancelled while it waits for the board."""
    run = reviews.start("warehouse-automation")
    reviews.asked(run)
    reviews.cancel(run)
    reviews.ended(run)
    return run


def _approved(reviews: Reviews, proposal: str) -> str:
    run = reviews.start(proposal)
    reviews.approve(reviews.asked(run))
    reviews.ended(run)
    return run


SCENARIOS: dict[str, tuple[Callable[[Reviews], str], int]] = {
    "launched": (launched, USUAL_TURNS),
    "rejected": (rejected, USUAL_TURNS),
    "compensated": (compensated, USUAL_TURNS),
    "cancelled": (cancelled, USUAL_TURNS),
    "continued": (launched, FEW_TURNS),
}
"""How a run goes, and after how many turns it moves to a fresh history."""


def record(name: str, folder: Path) -> Path:
    """Run one scenario and write its history."""
    scenario, max_turns = SCENARIOS[name]
    app, file = folder / "app", folder / "turns.jsonl"
    app.mkdir(parents=True)
    shutil.copy(ROOT / "host.json", app)
    shutil.copytree(ROOT / "infra", app / "infra")
    shutil.copy(Path(__file__).with_name("recording_app.py"), app / "function_app.py")
    os.environ |= {"RECORD_TO": str(file), "RECORD_ROOT": str(ROOT), "RECORD_MAX_TURNS": str(max_turns)}
    with served(folder / "data", app) as reviews:
        run = scenario(reviews)
    turns = [_turn(line) for line in file.read_text().splitlines()]
    ours = [turn for turn in turns if turn[0].instanceId.startswith(run)]
    return save(name, History(max_turns, assemble(ours)))


def _turn(line: str) -> tuple[pb.OrchestratorRequest, pb.OrchestratorResponse]:
    asked, answered = (base64.b64decode(each) for each in json.loads(line))
    return pb.OrchestratorRequest.FromString(asked), pb.OrchestratorResponse.FromString(answered)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or SCENARIOS:
        with tempfile.TemporaryDirectory(prefix="aos-record-") as made:
            print(record(chosen, Path(made)))
