"""`extensions.durableTask` of host.json."""

import enum
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from aos.local.host.errors import HostError
from aos.local.host.jsonsection import Section
from aos.local.host.settings import substitute
from aos.local.host.versions import FailureStrategy, MatchStrategy, Versions

_CORES = os.cpu_count() or 1
_STORAGE_HUB_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{2,44}")
_HUB_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True, slots=True)
class DurableSettings:
    """`extensions.durableTask`: the hub's name, how much may run at once, and what clients may do.

    `events_must_arrive` is throwStatusExceptionsOnRaiseEvent; `http_poll_s` is how long a durable HTTP call
    waits between polls where the answer does not say (`None`: as long as the SDK does). `filters_work` is
    workItemFilteringEnabled: work for functions that the app does not have is left waiting.
    `keeps_orchestrations` is extendedSessionsEnabled, which is on here unless it is set to false.
    """

    hub_name: str = "TestHubName"
    activities: int = 10 * _CORES
    orchestrators: int = 10 * _CORES
    entities: int = 10 * _CORES
    max_message_bytes: int = 4 * 1024 * 1024
    versions: Versions = field(default_factory=Versions)
    replaces_running: bool = False
    events_must_arrive: bool | None = None
    http_poll_s: float | None = None
    use_forwarded_host: bool = False
    filters_work: bool = False
    keeps_orchestrations: bool = True


class Overridable(enum.StrEnum):
    """In which states an instance is replaced by a start with its id, `overridableExistingInstanceStates`."""

    NOT_RUNNING = "NonRunningStates"
    ANY = "AnyState"


def durable_settings(section: Section, settings: Mapping[str, str]) -> DurableSettings:
    """Read the section; app settings stand for `%NAME%`."""
    default = DurableSettings()
    hub_name = _hub_name(section, settings) or default.hub_name
    _check_hub_name(hub_name, section)
    return DurableSettings(
        hub_name=hub_name,
        activities=section.count("maxConcurrentActivityFunctions", default.activities),
        orchestrators=section.count("maxConcurrentOrchestratorFunctions", default.orchestrators),
        entities=section.count("maxConcurrentEntityFunctions", default.entities),
        max_message_bytes=section.count("maxGrpcMessageSizeInBytes", default.max_message_bytes),
        versions=_versions(section),
        replaces_running=section.choice("overridableExistingInstanceStates", Overridable) is Overridable.ANY,
        events_must_arrive=(
            section.flag("throwStatusExceptionsOnRaiseEvent", False)
            if section.find("throwStatusExceptionsOnRaiseEvent") is not None
            else None
        ),
        http_poll_s=_http_poll(section.section("httpSettings")),
        use_forwarded_host=section.section("httpSettings").flag("useForwardedHost", False),
        filters_work=section.section("storageProvider").flag("workItemFilteringEnabled", False),
        keeps_orchestrations=section.flag("extendedSessionsEnabled", default.keeps_orchestrations),
    )


def _versions(section: Section) -> Versions:
    return Versions(
        default=section.text("defaultVersion", "") or None,
        match=section.choice("versionMatchStrategy", MatchStrategy) or MatchStrategy.CURRENT_OR_OLDER,
        failure=section.choice("versionFailureStrategy", FailureStrategy) or FailureStrategy.REJECT,
    )


def _http_poll(section: Section) -> float | None:
    name = "defaultAsyncRequestSleepTimeMilliseconds"
    return section.count(name, 1) / 1000 if section.find(name) is not None else None


def _check_hub_name(name: str, section: Section) -> None:
    """Refuse a name that the app's storage provider would refuse: tables and queues allow the fewest."""
    in_storage = section.section("storageProvider").text("type", "AzureStorage").lower() == "azurestorage"
    if in_storage and not _STORAGE_HUB_NAME.fullmatch(name):
        raise HostError(
            f"{section.where}.hubName: {name!r} must be 3 to 45 letters and digits, the first a letter"
        )
    if not _HUB_NAME.fullmatch(name):
        raise HostError(f"{section.where}.hubName: {name!r} must be 1 to 100 letters, digits, - and _")


def _hub_name(section: Section, settings: Mapping[str, str]) -> str | None:
    """The hub's name; `None` when it is an app setting that only the cloud has."""
    name = section.text("hubName", "")
    if name.startswith("%") and name.strip("%") not in settings:
        return None
    return substitute(name, settings, f"{section.where}.hubName")
