"""A client that we did not write and do not use: npm @azure/service-bus."""

import asyncio
import os
from pathlib import Path

import pytest
from servicebus_bus import Bus

_FOLDER = Path(__file__).parent / "javascript"

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_javascript_client_sees_the_same_behaviours(bus: Bus):
    installed = (_FOLDER / "node_modules/@azure/service-bus").is_dir()
    assert installed, f"run `npm install --prefix {_FOLDER}`, as `make test` does"
    environment = {**os.environ, "SERVICEBUS_CONNECTION_STRING": bus.broker.connection_string}
    process = await asyncio.create_subprocess_exec(
        *("node", "--test", "behaviours.test.mjs"),
        cwd=_FOLDER,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, output.decode()
    assert "# pass 9" in output.decode()
