"""A deployment that stands by for another takes no messages and no ticks, or it does not start."""

from __future__ import annotations

import os

from aos.kernel.errors import InvalidSetting
from aos.services.environment.settings import Settings

STOPPED = ("compact_budget", "end_dead_letter", "ring_again", "run_agent_step")
"""The functions that nobody calls: messages and ticks set them off, which are the active region's."""


def check_triggers(settings: Settings) -> None:
    """Check that a standby's triggers are switched off.

    Raises:
        InvalidSetting: names the settings that would switch them off.
    """
    if not settings.read_only:
        return
    names = [f"AzureWebJobs.{name}.Disabled" for name in STOPPED]
    missing = [name for name in names if os.environ.get(name, "").lower() not in ("true", "1")]
    if missing:
        raise InvalidSetting(
            f"AOS_READ_ONLY: a standby takes no messages and no ticks; set {', '.join(missing)} to true"
        )
