"""A slice of the soak, with work and faults of a fixed seed."""

import shutil
import tempfile
from pathlib import Path

import pytest
import soak

SEED = 20
SECONDS = 50


@pytest.mark.timeout(300)
async def test_mixed_work_under_faults_loses_nothing_and_doubles_nothing() -> None:
    """The folder is kept when it fails, with the databases and the logs of every host."""
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    account = await soak.soak(SEED, SECONDS, folder)
    assert not account.violations, str(account)
    shutil.rmtree(folder)
