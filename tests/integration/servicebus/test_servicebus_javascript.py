"""Clients that we did not write and do not use: npm @azure/service-bus, and rhea, a plain AMQP client."""

import asyncio
import os
from pathlib import Path

from servicebus_bus import QUEUES, TOPICS, topology

from aos.local.servicebus import Broker

_FOLDER = Path(__file__).parent / "javascript"


async def test_clients_of_another_make_see_the_same_behaviours():
    installed = (_FOLDER / "node_modules/@azure/service-bus").is_dir()
    assert installed, f"run `npm install --prefix {_FOLDER}`, as `make test` does"
    broker = await Broker.open(None, topology(QUEUES, TOPICS))
    await broker.serve()
    environment = {**os.environ, "SERVICEBUS_CONNECTION_STRING": broker.connection_string}
    process = await asyncio.create_subprocess_exec(
        *("node", "--test", "amqp.test.mjs", "behaviours.test.mjs", "sessions.test.mjs"),
        cwd=_FOLDER,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 120)
    finally:
        if process.returncode is None:
            process.kill()
        await broker.close()
    assert process.returncode == 0, output.decode()
    assert "# pass 22" in output.decode()
