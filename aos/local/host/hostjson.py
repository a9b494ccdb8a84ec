"""host.json: what this host honours, and what it refuses rather than ignores."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aos.local.host.durablejson import DurableSettings, durable_settings
from aos.local.host.errors import HostError
from aos.local.host.hostschema import checked
from aos.local.host.jsonsection import Section
from aos.local.host.loglevels import LEVELS, LogLevels
from aos.local.host.retries import RetryPolicy, retry_policy
from aos.local.host.settings import read_json_object

_LONGEST_BATCH_WAIT_S = 150.0


@dataclass(frozen=True, slots=True)
class BusSettings:
    """`extensions.serviceBus`, for each function: how much at once, how long locks are renewed, settling.

    Sessions, batches and what is neither have limits of their own, as in the extension.
    """

    auto_complete: bool = True
    lock_renewal_s: float = 300.0
    max_concurrent_calls: int = 16
    max_concurrent_sessions: int = 8
    max_calls_per_session: int = 1
    session_idle_s: float = 60.0
    max_batch: int = 1000
    min_batch: int = 1
    max_batch_wait_s: float = 30.0


@dataclass(frozen=True, slots=True)
class HostJson:
    """The settings of host.json that this host honours, with Azure's defaults."""

    route_prefix: str = "api"
    response_headers: Mapping[str, str] = field(default_factory=dict)
    function_timeout_s: float | None = 1800.0
    max_outstanding_requests: int | None = None
    max_concurrent_requests: int | None = None
    log_levels: LogLevels = field(default_factory=LogLevels)
    functions: tuple[str, ...] = ()
    watch_files: tuple[str, ...] = ()
    watch_directories: tuple[str, ...] = ()
    retry: RetryPolicy | None = None
    bus: BusSettings = field(default_factory=BusSettings)
    durable: DurableSettings = field(default_factory=DurableSettings)


def read_host_json(app: Path, settings: Mapping[str, str]) -> HostJson:
    """Read host.json of the app folder; `HostError` names the file and the setting that is wrong.

    App settings named `AzureFunctionsJobHost__extensions__http__routePrefix` and so on override it.
    """
    path = app / "host.json"
    if not path.exists():
        raise HostError(f'{path} does not exist: a Functions app needs one, at least {{"version": "2.0"}}')
    document = Section(checked(_overridden(read_json_object(path), settings), f"{path}"), f"{path}")
    if document.text("version", "") != "2.0":
        raise HostError(f'{path}: version must be "2.0"')
    http = document.section("extensions").section("http")
    return HostJson(
        route_prefix=http.text("routePrefix", "api").strip("/"),
        response_headers=http.texts("customHeaders"),
        function_timeout_s=_function_timeout(document),
        max_outstanding_requests=_limit(http, "maxOutstandingRequests"),
        max_concurrent_requests=_limit(http, "maxConcurrentRequests"),
        log_levels=_log_levels(document.section("logging").section("logLevel")),
        functions=tuple(document.names("functions")),
        watch_files=tuple(document.names("watchFiles")),
        watch_directories=tuple(document.names("watchDirectories")),
        retry=_retry(document),
        bus=_bus(document.section("extensions").section("serviceBus")),
        durable=durable_settings(document.section("extensions").section("durableTask"), settings),
    )


def _overridden(document: dict[str, Any], settings: Mapping[str, str]) -> dict[str, Any]:
    for name, text in settings.items():
        prefix, *path = name.split("__")
        if prefix != "AzureFunctionsJobHost" or not path:
            continue
        target = document
        for key in path[:-1]:
            target = target.setdefault(_spelt(key, target), {})
        target[_spelt(path[-1], target)] = _value(text)
    return document


def _spelt(key: str, target: Mapping[str, Any]) -> str:
    """The key as the document has it, in whatever case."""
    return next((name for name in target if name.lower() == key.lower()), key)


def _value(text: str) -> object:
    """An object or a list; anything else is text, whatever it looks like (a version such as 1.10, say)."""
    try:
        value: object = json.loads(text)
    except json.JSONDecodeError:
        return text
    return value if isinstance(value, dict | list) else text


def _function_timeout(document: Section) -> float | None:
    if document.find("functionTimeout") in ("-1", "-00:00:01"):
        return None
    return document.seconds("functionTimeout", 1800.0)


def _limit(section: Section, name: str) -> int | None:
    """A number of requests; -1 stands for no limit."""
    return None if section.find(name) in (None, -1, "-1") else section.count(name, 1)


def _log_levels(section: Section) -> LogLevels:
    levels = section.all_texts()
    for category, level in levels.items():
        if level.lower() not in LEVELS:
            raise HostError(f"{section.where}.{category}: {level!r} is not one of {', '.join(LEVELS)}")
    return LogLevels(levels)


def _retry(document: Section) -> RetryPolicy | None:
    """The policy of functions that have none of their own."""
    if document.find("retry") is None:
        return None
    section = document.section("retry")
    strategy = section.text("strategy", "")
    described = {
        "strategy": {"fixeddelay": "fixed_delay", "exponentialbackoff": "exponential_backoff"}.get(
            strategy.lower(), strategy
        ),
        "max": section.find("maxRetryCount"),
        "delay": section.optional_seconds("delayInterval"),
        "minimum": section.optional_seconds("minimumInterval"),
        "maximum": section.optional_seconds("maximumInterval"),
    }
    try:
        return retry_policy(described)
    except ValueError as error:
        raise HostError(f"{section.where}: {error}") from error


def _bus(section: Section) -> BusSettings:
    """Where a setting of today is absent, what extension 5.x reads of 4.x counts."""
    default = BusSettings()
    messages, sessions = section.section("messageHandlerOptions"), section.section("sessionHandlerOptions")
    automatic = section.section("batchOptions").flag("autoComplete", default.auto_complete)
    automatic = messages.flag("autoComplete", sessions.flag("autoComplete", automatic))
    renewal_s = sessions.duration("maxAutoRenewDuration", default.lock_renewal_s)
    renewal_s = messages.duration("maxAutoRenewDuration", renewal_s)
    calls = messages.count("maxConcurrentCalls", default.max_concurrent_calls)
    at_once = sessions.count("maxConcurrentSessions", default.max_concurrent_sessions)
    idle_s = section.section("clientRetryOptions").seconds("tryTimeout", default.session_idle_s)
    idle_s = sessions.seconds("messageWaitTime", idle_s)
    settings = BusSettings(
        auto_complete=section.flag("autoCompleteMessages", automatic),
        lock_renewal_s=section.duration("maxAutoLockRenewalDuration", renewal_s),
        max_concurrent_calls=section.count("maxConcurrentCalls", calls),
        max_concurrent_sessions=section.count("maxConcurrentSessions", at_once),
        max_calls_per_session=section.count("maxConcurrentCallsPerSession", default.max_calls_per_session),
        session_idle_s=section.seconds("sessionIdleTimeout", idle_s),
        max_batch=section.count("maxMessageBatchSize", default.max_batch),
        min_batch=section.count("minMessageBatchSize", default.min_batch),
        max_batch_wait_s=section.seconds("maxBatchWaitTime", default.max_batch_wait_s),
    )
    if settings.min_batch > settings.max_batch:
        raise HostError(f"{section.where}.minMessageBatchSize must not be above maxMessageBatchSize")
    if settings.max_batch_wait_s > _LONGEST_BATCH_WAIT_S:
        raise HostError(f"{section.where}.maxBatchWaitTime must be at most 00:02:30, half the longest lock")
    return settings
