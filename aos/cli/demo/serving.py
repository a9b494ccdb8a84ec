"""A host of its own for the demonstration: free ports, fresh data, gone afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

from aos.cli.machine import FIRST_KEY, ROLES, state_folder
from aos.kernel.errors import AosError

HOST_LOG = "host.log"


class HostFailed(AosError):
    """The host did not start, or did not go on."""

    code = "host_failed"


@contextlib.asynccontextmanager
async def serving(app: Path, data: Path) -> AsyncGenerator[tuple[str, str]]:
    """Serve the app with its state in ``data``; gives the URL and a key that may do everything.

    The host is part of this process, and its worker ends with it, however it ends.
    """
    from aos.local.host import Host, HostError, HostOptions  # noqa: PLC0415 - a second of imports

    # What a person has set for their own AOS must not lead the demonstration there.
    env = {
        "AOS_DATA": str(state_folder(data)),
        "AOS_STORAGE": "local",
        "AOS_APPLICATION": "apps.leadership",
        "AOS_TENANT": "default",
    }
    key = await _make_key(data)
    options = HostOptions(app=app, data=data, port=0, env=env, grace_s=2.0)
    with (data / HOST_LOG).open("w", encoding="utf-8") as log:
        try:
            with contextlib.redirect_stderr(log):  # the host keeps the stream that it starts with
                host = await Host.start(options)
        except HostError as error:
            raise HostFailed(error.message) from error
        try:
            yield host.url, key
        finally:
            await host.stop()


async def _make_key(data: Path) -> str:
    from aos.services.auth import KeyStore  # noqa: PLC0415 - as above
    from aos.services.storage.local import open_local  # noqa: PLC0415

    async with open_local(state_folder(data) / "storage") as storage:
        text, _ = await KeyStore(storage.rows).create(FIRST_KEY, ROLES, "default")
        return text
