"""A slice of the soak, with work and faults of a fixed seed, and what its judge says of a harmed one."""

import shutil
import tempfile
from pathlib import Path

import pytest
import soak
from soak_harm import HARMS, victims, violations_after
from soak_plan import make_plan

SEED = 20
SECONDS = 110  # with the start, and the end of what is under way, two minutes


@pytest.mark.timeout(900)  # it waits for whatever a busy machine needs, and says itself what takes too long
async def test_mixed_work_under_faults_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    """The folder is kept when it fails, with the databases and the logs of every host."""
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    account = await soak.soak(SEED, SECONDS, folder)
    assert not account.violations, str(account)
    plan = make_plan(SEED, SECONDS)
    of = victims(plan)
    for name, harm in HARMS.items():
        violations = violations_after(harm, of, plan, folder, tmp_path)
        assert any(each.startswith(harm.seen.format(**of)) for each in violations), (
            f"the judge does not see {name}: {violations}"
        )
    shutil.rmtree(folder)
