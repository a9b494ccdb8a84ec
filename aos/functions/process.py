"""What a worker process holds: one system, opened when the first function needs it."""

from __future__ import annotations

import functools

from aos.functions.durable_client import DurableEngine
from aos.functions.standby import check_triggers
from aos.services.backends import open_queue
from aos.services.environment.identity import Credential, open_credential
from aos.services.environment.settings import Settings, load_settings
from aos.services.observability.logs import quiet_libraries
from aos.services.observability.telemetry import start_telemetry
from aos.services.system import System, open_system


@functools.cache
def settings() -> Settings:
    """Return the settings of this process."""
    return load_settings()


@functools.cache
def credential() -> Credential | None:
    """Return the process's one identity, if the settings need one."""
    return open_credential(settings())


@functools.cache
def engine() -> DurableEngine:
    """Return the process's way to the durable engine."""
    return DurableEngine(settings().tenant)


@functools.cache
def system() -> System:
    """Return the process's services.

    Raises:
        InvalidSetting: something in the settings, the policies or the application is wrong.
        InvalidDefinition: a workflow of the application is.
    """
    check_triggers(settings())
    quiet_libraries()
    start_telemetry(settings(), credential())
    return open_system(settings(), engine(), open_queue(settings(), credential()), credential=credential())
