"""host.json: comments, names in any case, log levels, and what is refused by its name."""

import json
import logging
import math
from pathlib import Path

import pytest

from aos.local.host import jsonc
from aos.local.host.errors import HostError
from aos.local.host.hostjson import BusSettings, HostJson, read_host_json
from aos.local.host.loglevels import LogLevels, function_category, user_category
from aos.local.host.retries import RetryPolicy
from aos.local.host.settings import local_endpoint, worker_count
from aos.local.host.throttle import Throttle, TooBusyError
from aos.local.host.worker.logs import root_level

SLEEP = "defaultAsyncRequestSleepTimeMilliseconds"
EVERY_SECTION = {
    "aggregator": {"batchSize": 1000},
    "concurrency": {"dynamicConcurrencyEnabled": True, "snapshotPersistenceEnabled": True},
    "extensions": {
        "blobs": {}, "cosmosDB": {}, "eventHubs": {"batchCheckpointFrequency": 5}, "queues": {"batchSize": 1},
        "http": {"maxOutstandingRequests": 200, "maxConcurrentRequests": -1, "dynamicThrottlesEnabled": True},
        "durableTask": {
            "storageProvider": {"type": "azureManaged"}, "tracing": {"traceInputsAndOutputs": True},
            "throwStatusExceptionsOnRaiseEvent": True, "useGracefulShutdown": True,
        },
    },
    "extensionBundle": {"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)"},
    "healthMonitor": {"enabled": True},
    "logging": {"applicationInsights": {"samplingSettings": {"isEnabled": True}}, "fileLoggingMode": "never"},
    "managedDependency": {"enabled": True},
    "singleton": {"lockPeriod": "00:00:15"},
    "watchDirectories": ["shared"],
    "watchFiles": ["rules.yaml"],
}  # fmt: skip


def host_json(folder: Path, content: object) -> HostJson:
    text = content if isinstance(content, str) else json.dumps({"version": "2.0", **content})  # type: ignore[dict-item]
    (folder / "host.json").write_text(text)
    return read_host_json(folder, {})


def test_the_reference_documents_settings_are_accepted(tmp_path: Path) -> None:
    settings = host_json(tmp_path, EVERY_SECTION)
    assert (settings.max_outstanding_requests, settings.max_concurrent_requests) == (200, None)
    assert (settings.watch_files, settings.watch_directories) == (("rules.yaml",), ("shared",))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"functionTimeOut": "00:01:00", "extension": {}}, "extension is not a setting that this host knows"),
        ({"extensions": {"http": {"routPrefix": ""}}}, "extensions.http.routPrefix is not a setting"),
        ({"extensions": {"durableTask": {"maxConcurentActivities": 1}}}, "known here: appLeaseOptions"),
        ({"http": {"routePrefix": ""}}, "http is not supported here (a setting of Functions 1.x"),
        ({"customHandler": {"description": {}}}, "customHandler is not supported here (custom handlers)"),
        (
            {"extensions": {"durableTask": {"notifications": {"eventGrid": {"topicEndpoint": "x"}}}}},
            "notifications is not supported here (lifecycle notifications through Event Grid)",
        ),
        (
            {"extensions": {"durableTask": {"versionMatchStrategy": "Newest"}}},
            "versionMatchStrategy: 'Newest' is not one of None, Strict, CurrentOrOlder",
        ),
        (
            {"extensions": {"durableTask": {"overridableExistingInstanceStates": "All"}}},
            "overridableExistingInstanceStates: 'All' is not one of NonRunningStates, AnyState",
        ),
        (
            {"extensions": {"durableTask": {"httpSettings": {SLEEP: 0}}}},
            "defaultAsyncRequestSleepTimeMilliseconds must be a whole number of at least 1",
        ),
        ({"logging": {"logLevel": {"Function": "Loud"}}}, "logLevel.Function: 'Loud' is not one of trace, "),
    ],
)
def test_a_setting_that_is_unknown_or_cannot_be_followed_is_named(
    content: dict[str, object], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(HostError) as caught:
        host_json(tmp_path, content)
    assert reason in caught.value.message


def test_numbers_and_truths_may_be_written_as_text(tmp_path: Path) -> None:
    durable = {
        "maxConcurrentActivityFunctions": "7",
        "storageProvider": {"type": "azureManaged", "workItemFilteringEnabled": "True"},
    }
    settings = host_json(tmp_path, {"extensions": {"durableTask": durable}}).durable
    assert (settings.activities, settings.filters_work) == (7, True)
    for wrong in ("seven", "0", "true"):
        content = {"extensions": {"durableTask": {"maxConcurrentActivityFunctions": wrong}}}
        with pytest.raises(HostError, match="maxConcurrentActivityFunctions must be a whole number"):
            host_json(tmp_path, content)


def test_names_are_compared_without_regard_to_case(tmp_path: Path) -> None:
    settings = host_json(tmp_path, {"Extensions": {"HTTP": {"routeprefix": "v1"}}})
    assert settings.route_prefix == "v1"


def test_comments_and_trailing_commas_are_skipped() -> None:
    text = '{ // one\n "a": "http://x//y", /* two\n "b": 1, */ "c": [1, 2,], }'
    assert jsonc.loads(text) == {"a": "http://x//y", "c": [1, 2]}


def test_an_error_after_a_comment_has_its_own_line() -> None:
    with pytest.raises(json.JSONDecodeError, match="line 3 column 1"):
        jsonc.loads("/* one\ntwo */ {\n]")


def test_the_longest_category_decides_the_level() -> None:
    levels = LogLevels(
        {"default": "Warning", "Function": "Error", "function.Loud": "Debug", "Function.Mute.User": "None"}
    )
    assert not levels.allows("Host", "information")
    assert levels.allows("Host", "warning")
    assert not levels.allows(function_category("Other"), "warning")
    assert levels.allows(user_category("Loud"), "debug")
    assert not levels.allows(user_category("Mute"), "critical")
    assert levels.allows(function_category("Mute"), "error")
    assert levels.lowest == "debug"


def test_debug_records_need_the_workers_own_setting_too() -> None:
    levels = LogLevels({"default": "Trace"})
    assert root_level(levels, {}) == logging.INFO
    assert root_level(levels, {"PYTHON_ENABLE_DEBUG_LOGGING": "1"}) < logging.DEBUG
    assert root_level(LogLevels({"default": "Error"}), {"PYTHON_ENABLE_DEBUG_LOGGING": "1"}) == logging.ERROR


@pytest.mark.parametrize("text", ["0", "11", "two", "-1"])
def test_a_wrong_number_of_workers_is_named(text: str) -> None:
    assert worker_count({}) == 1
    with pytest.raises(HostError, match="FUNCTIONS_WORKER_PROCESS_COUNT is"):
        worker_count({"FUNCTIONS_WORKER_PROCESS_COUNT": text})


def test_where_to_listen_comes_from_local_settings(tmp_path: Path) -> None:
    assert local_endpoint(tmp_path) == ("127.0.0.1", 7071)
    file = tmp_path / "local.settings.json"
    file.write_text('{"Host": {"LocalHttpPort": 7072, "LocalHttpAddress": "127.0.0.2"} /* ours */}')
    assert local_endpoint(tmp_path) == ("127.0.0.2", 7072)
    file.write_text('{"Host": {"LocalHttpPort": "many"}}')
    with pytest.raises(HostError, match=r"Host\.LocalHttpPort must be a port number"):
        local_endpoint(tmp_path)


async def test_requests_above_the_outstanding_limit_are_refused() -> None:
    throttle = Throttle(outstanding=1, concurrent=1)
    async with throttle.place():
        with pytest.raises(TooBusyError):
            async with throttle.place():
                pass
    async with throttle.place():
        pass


def test_the_settings_of_service_bus_are_those_of_extension_5(tmp_path: Path) -> None:
    given = {
        "clientRetryOptions": {"mode": "exponential", "tryTimeout": "00:00:20", "maxRetries": 3},
        "prefetchCount": 100, "transportType": "amqpWebSockets", "webProxy": "https://proxy:8080",
        "autoCompleteMessages": False, "maxAutoLockRenewalDuration": "-00:00:00.0010000",
        "maxConcurrentCalls": 32, "maxConcurrentSessions": 10, "maxConcurrentCallsPerSession": 2,
        "maxMessageBatchSize": 200, "minMessageBatchSize": 5, "maxBatchWaitTime": "00:00:05",
        "enableCrossEntityTransactions": True,
    }  # fmt: skip
    assert host_json(tmp_path, {"extensions": {"serviceBus": given}}).bus == BusSettings(
        auto_complete=False, lock_renewal_s=math.inf, max_concurrent_calls=32, max_concurrent_sessions=10,
        max_calls_per_session=2, session_idle_s=20.0, max_batch=200, min_batch=5, max_batch_wait_s=5.0,
    )  # fmt: skip
    assert host_json(tmp_path, {}).bus == BusSettings()


def test_settings_of_the_extension_4_count_where_it_still_reads_them(tmp_path: Path) -> None:
    given = {
        "messageHandlerOptions": {"autoComplete": False, "maxConcurrentCalls": 3},
        "sessionHandlerOptions": {
            "maxAutoRenewDuration": "00:10:00", "maxConcurrentSessions": 4, "messageWaitTime": "00:00:09",
        },
        "maxConcurrentCalls": 5,
    }  # fmt: skip
    bus = host_json(tmp_path, {"extensions": {"serviceBus": given}}).bus
    assert (bus.auto_complete, bus.lock_renewal_s, bus.session_idle_s) == (False, 600.0, 9.0)
    assert (bus.max_concurrent_calls, bus.max_concurrent_sessions) == (5, 4)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"maxConcurentCalls": 1}, "extensions.serviceBus.maxConcurentCalls is not a setting"),
        ({"minMessageBatchSize": 9, "maxMessageBatchSize": 8}, "must not be above maxMessageBatchSize"),
        ({"maxBatchWaitTime": "00:03:00"}, "maxBatchWaitTime must be at most 00:02:30"),
        ({"maxConcurrentSessions": 0}, "maxConcurrentSessions must be a whole number of at least 1"),
        ({"sessionIdleTimeout": "a minute"}, "sessionIdleTimeout: 'a minute' is not a time span"),
        ({"batchOptions": {"maxMessageCount": 5}}, "maxMessageBatchSize replaced it"),
        ({"clientRetryOptions": {"tries": 1}}, "clientRetryOptions.tries is not a setting"),
    ],
)
def test_what_service_bus_cannot_be_told_is_named(
    content: dict[str, object], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(HostError) as caught:
        host_json(tmp_path, {"extensions": {"serviceBus": content}})
    assert reason in caught.value.message


def test_a_retry_policy_for_the_whole_app_is_read_and_checked(tmp_path: Path) -> None:
    fixed = {"strategy": "fixedDelay", "maxRetryCount": -1, "delayInterval": "00:00:10"}
    assert host_json(tmp_path, {"retry": fixed}).retry == RetryPolicy(None, 10.0, 10.0)
    assert host_json(tmp_path, {}).retry is None
    with pytest.raises(HostError, match="retry: the exponential_backoff strategy needs its minimum and maxi"):
        host_json(tmp_path, {"retry": {"strategy": "exponentialBackoff", "maxRetryCount": 2}})
