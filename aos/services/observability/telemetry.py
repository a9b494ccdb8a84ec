"""Whether traces and metrics go anywhere."""

from __future__ import annotations

from aos.services.environment.identity import Credential
from aos.services.environment.settings import Settings


def start_telemetry(settings: Settings, credential: Credential | None) -> None:
    """Have this process send its traces and metrics where the settings say; nowhere by default.

    Call it once a process, before anything is traced. What waits is sent when the process ends.
    """
    wanted = settings.telemetry_connection, settings.otlp_endpoint, settings.telemetry_console or None
    if any(each is not None for each in wanted):
        from aos.services.observability.export import start_export  # noqa: PLC0415 - 0.2 s, where it is used

        start_export(settings, credential)
