"""AOS on this machine: where its state lies, and the API keys in it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aos.kernel.errors import InvalidSetting, NotFound

if TYPE_CHECKING:
    from aos.services.auth import KeyRecord, KeyStore
    from aos.services.environment.settings import Settings
    from aos.services.storage import Storage

DEFAULT_DATA = Path(".aos")
ROLES = ("operator", "approver", "viewer")
"""The roles of the first key: whoever owns the machine may do everything."""
FIRST_KEY = "local"


_RUNTIME = ("azure_functions_runtime", "grpc", "uvloop")


def require_runtime() -> None:
    """Check that the local runtime can be imported, which a deployed AOS does without.

    Raises:
        InvalidSetting: it was not installed.
    """
    missing = [name for name in _RUNTIME if importlib.util.find_spec(name) is None]
    if missing:
        raise InvalidSetting(f"{', '.join(missing)} is missing: pip install 'aos[local]'")


def state_folder(data: Path) -> Path:
    """Return where AOS keeps its own state below the host's data folder."""
    return data.resolve() / "aos"


def place(data: Path) -> dict[str, str]:
    """Return the settings that put the state into ``data``, but for those that the environment has."""
    folder = os.environ.get("AOS_DATA")
    return {
        "AOS_DATA": str(Path(folder).resolve() if folder else state_folder(data)),
        "AOS_STORAGE": os.environ.get("AOS_STORAGE") or "local",
    }


def check_state(data: Path) -> None:
    """Check that the storage and the signing key of the settings can be used, before anything is started.

    Raises:
        InvalidSetting: a setting is wrong, or one of them cannot be used.
    """
    from aos.services.governance.signer import LocalSigner  # noqa: PLC0415 - 0.2 s, not for `--help`

    settings = _settings(data)
    asyncio.run(_on_keys(settings, lambda keys, tenant: keys.list(tenant)))
    if settings.signing_key is None:
        LocalSigner.open(settings.data / "signing-key.pem")


def with_keys[T](data: Path, work: Callable[[KeyStore, str], Awaitable[T]], *, existing: bool = False) -> T:
    """Do the work on the keys in storage, with the tenant's name; ``existing``: make no storage for it.

    Raises:
        InvalidSetting: a setting is wrong, or the storage cannot be used.
        NotFound: nothing exists, and it should.
    """
    settings = _settings(data)
    if existing and settings.storage == "local" and not settings.data.is_dir():
        raise NotFound(f"there is no state of AOS in {data}: it is made by `aos up` or `aos key create`")
    return asyncio.run(_on_keys(settings, work))


def _settings(data: Path) -> Settings:
    os.environ.update(place(data))
    from aos.services.environment.settings import load_settings  # noqa: PLC0415 - 0.3 s, not for `--help`

    return load_settings()


async def _on_keys[T](settings: Settings, work: Callable[[KeyStore, str], Awaitable[T]]) -> T:
    from aos.services.auth import KeyStore  # noqa: PLC0415 - as above

    async with _open_storage(settings) as storage:
        return await work(KeyStore(storage.rows), settings.tenant)


@contextlib.asynccontextmanager
async def _open_storage(settings: Settings) -> AsyncIterator[Storage]:
    from aos.services.environment.identity import open_credential  # noqa: PLC0415 - as above
    from aos.services.storage.opening import open_storage  # noqa: PLC0415 - as above

    async with contextlib.AsyncExitStack() as stack:
        credential = open_credential(settings)
        if credential is not None:
            await stack.enter_async_context(credential)
        yield await stack.enter_async_context(open_storage(settings, credential))


async def first_key(keys: KeyStore, tenant: str) -> tuple[str, KeyRecord] | None:
    """Make the first key, if there is none yet."""
    if await keys.list(tenant):
        return None
    return await keys.create(FIRST_KEY, ROLES, tenant)
