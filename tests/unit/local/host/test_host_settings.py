"""host.json, local.settings.json and %NAME%: what is honoured."""

import json
from pathlib import Path

import pytest

from aos.local.host.broker import connect, connect_default
from aos.local.host.errors import HostError
from aos.local.host.functions import Function, Trigger, functions_of
from aos.local.host.hostjson import HostJson, read_host_json
from aos.local.host.jsonsection import timespan_s
from aos.local.host.routetable import RouteTable
from aos.local.host.settings import app_settings, substitute

OURS = "Endpoint=sb://127.0.0.1:1;UseDevelopmentEmulator=true;"


def host_json(folder: Path, settings: dict[str, str] | None = None, **content: object) -> HostJson:
    (folder / "host.json").write_text(json.dumps({"version": "2.0", **content}), encoding="utf-8-sig")
    return read_host_json(folder, settings or {})


def bus_function(connection: str | None) -> Function:
    binding = {"type": "serviceBusTrigger", "name": "m", "queueName": "q", "connection": connection}
    return functions_of([{"name": "f", "id": "1", "bindings": [binding]}], {})[0]


def test_an_empty_host_json_means_azures_defaults(tmp_path: Path) -> None:
    settings = host_json(tmp_path)
    assert (settings.route_prefix, settings.function_timeout_s) == ("api", 1800)
    assert (settings.bus.max_concurrent_calls, settings.bus.lock_renewal_s) == (16, 300)


def test_every_setting_that_is_honoured_is_read(tmp_path: Path) -> None:
    settings = host_json(
        tmp_path,
        functionTimeout="00:10:00",
        logging={"logLevel": {"default": "Warning"}},
        functions=["one"],
        extensions={
            "http": {"routePrefix": "/v1/", "customHeaders": {"A": "b"}},
            "serviceBus": {
                "maxConcurrentCalls": 3, "autoCompleteMessages": False,
                "maxAutoLockRenewalDuration": "00:00:30",
            },
            "durableTask": {
                "hubName": "Hub", "maxGrpcMessageSizeInBytes": 4, "maxConcurrentActivityFunctions": 1,
                "maxConcurrentOrchestratorFunctions": 2, "maxConcurrentEntityFunctions": 3,
            },
        },
    )  # fmt: skip
    assert (settings.route_prefix, dict(settings.response_headers)) == ("v1", {"A": "b"})
    assert (settings.function_timeout_s, settings.functions) == (600, ("one",))
    assert settings.log_levels.levels == {"default": "Warning"}
    bus, durable = settings.bus, settings.durable
    assert (bus.max_concurrent_calls, bus.lock_renewal_s, bus.auto_complete) == (3, 30, False)
    assert (durable.hub_name, durable.activities, durable.orchestrators) == ("Hub", 1, 2)
    assert (durable.entities, durable.max_message_bytes) == (3, 4)


def test_a_function_timeout_of_minus_one_is_none(tmp_path: Path) -> None:
    assert host_json(tmp_path, functionTimeout="-1").function_timeout_s is None


def test_the_hubs_name_is_one_that_its_storage_provider_takes(tmp_path: Path) -> None:
    scheduler = {"hubName": "Transfers_20260310-42", "storageProvider": {"type": "azureManaged"}}
    found = host_json(tmp_path, {}, extensions={"durableTask": scheduler})
    assert found.durable.hub_name == "Transfers_20260310-42"
    for refused in ({"hubName": "Transfers_2026"}, {**scheduler, "hubName": "Transfers 2026"}):
        with pytest.raises(HostError, match=r"extensions.durableTask.hubName: 'Transfers.2026' must be"):
            host_json(tmp_path, {}, extensions={"durableTask": refused})


@pytest.mark.parametrize(
    ("settings", "name"), [({"HUB": "FromSettings"}, "FromSettings"), ({}, "TestHubName")]
)
def test_the_hubs_name_may_be_an_app_setting_that_only_the_cloud_has(
    settings: dict[str, str], name: str, tmp_path: Path
) -> None:
    found = host_json(tmp_path, settings, extensions={"durableTask": {"hubName": "%HUB%"}})
    assert found.durable.hub_name == name


def test_app_settings_override_host_json(tmp_path: Path) -> None:
    overrides = {
        "AzureFunctionsJobHost__extensions__http__routePrefix": "other",
        "AzureFunctionsJobHost__extensions__serviceBus__maxConcurrentCalls": "5",
        "AzureFunctionsJobHost__extensions__http__maxOutstandingRequests": "-1",
        "AzureFunctionsJobHost__extensions__durableTask__defaultVersion": "1.10",
        "AzureFunctionsJobHost__extensions__durableTask__throwStatusExceptionsOnRaiseEvent": "false",
        "AzureFunctionsJobHost__watchFiles": '["rules.yaml"]',
    }
    settings = host_json(tmp_path, overrides, extensions={"http": {"routePrefix": "api"}})
    assert (settings.route_prefix, settings.bus.max_concurrent_calls) == ("other", 5)
    assert (settings.max_outstanding_requests, settings.watch_files) == (None, ("rules.yaml",))
    assert (settings.durable.versions.default, settings.durable.events_must_arrive) == ("1.10", False)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:05:00", 300), ("1.02:03:04", 93784), ("00:00:00.25", 0.25), ("5", None), ("00:05", None)],
)
def test_time_spans(text: str, seconds: float | None) -> None:
    assert timespan_s(text) == seconds


def test_the_environment_wins_over_local_settings_and_the_options_over_both(tmp_path: Path) -> None:
    values = {"A": "file", "B": "file", "C": "file", "D": 5, "E": None, "F": ""}
    (tmp_path / "local.settings.json").write_text(json.dumps({"Values": values}))
    settings = app_settings(tmp_path, {"B": "environment", "C": "environment", "A": ""}, {"C": "option"})
    assert {name: settings.get(name) for name in values} == {
        "A": "file", "B": "environment", "C": "option", "D": "5", "E": None, "F": None,
    }  # fmt: skip


def test_a_reference_is_replaced_by_the_app_setting() -> None:
    assert substitute("a-%X%-%Y%", {"X": "1", "Y": "2"}, "here") == "a-1-2"
    assert substitute("100% sure", {}, "here") == "100% sure"


def test_a_reference_to_a_setting_that_is_not_set_is_named() -> None:
    with pytest.raises(HostError, match="here: %X% names an app setting that is not set"):
        substitute("%X%", {}, "here")


@pytest.mark.parametrize(
    ("connection", "settings", "added"),
    [
        ("Bus", {}, {"Bus": OURS}),
        (None, {}, {"AzureWebJobsServiceBus": OURS}),
        ("Bus", {"Bus": "Endpoint=sb://localhost;UseDevelopmentEmulator=true;"}, {"Bus": OURS}),
        ("Bus", {"Bus": OURS}, {}),
        (
            "Bus",
            {
                "Bus": "UseDevelopmentEmulator=true",
                "Bus__fullyQualifiedNamespace": "x.servicebus.windows.net",
            },
            {"Bus": OURS},
        ),
    ],
)
def test_a_triggers_connection_becomes_the_local_broker(
    connection: str | None, settings: dict[str, str], added: dict[str, str]
) -> None:
    assert connect([bus_function(connection)], settings, OURS) == added


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("Bus", "Endpoint=sb://real.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey=s"),
        ("Bus__fullyQualifiedNamespace", "real.servicebus.windows.net"),
        ("AzureWebJobsBus__fullyQualifiedNamespace", "real.servicebus.windows.net"),
    ],
)
def test_a_trigger_on_another_namespace_is_refused(setting: str, value: str) -> None:
    with pytest.raises(HostError, match=f"function f, binding 'm': the setting {setting} points to another"):
        connect([bus_function("Bus")], {setting: value}, OURS)


def test_an_app_that_sends_elsewhere_keeps_its_connection() -> None:
    settings = {"ServiceBusConnection": "Endpoint=sb://real.servicebus.windows.net/;SharedAccessKey=s"}
    connect_default(settings, OURS)
    assert settings["ServiceBusConnection"].startswith("Endpoint=sb://real")
    empty: dict[str, str] = {}
    connect_default(empty, OURS)
    assert empty == {"ServiceBusConnection": OURS}


def test_only_the_functions_that_host_json_lists_are_active() -> None:
    route = {"type": "httpTrigger", "name": "req", "route": "r"}
    metadata = [{"name": name, "id": name, "bindings": [route]} for name in ("one", "two")]
    functions = functions_of(metadata, {}, ("two",))
    assert [(each.name, each.disabled, each.trigger) for each in functions] == [
        ("one", True, Trigger.HTTP),
        ("two", False, Trigger.HTTP),
    ]


def described(**extra: object) -> dict[str, object]:
    return {
        "name": "f",
        "id": "1",
        "bindings": [{"type": "httpTrigger", "name": "req", "route": "r"}],
        **extra,
    }


NO_BATCH = {"cardinality": "MANY", "maxMessageBatchSize": 0}


def sending(output: dict[str, str]) -> dict[str, object]:
    trigger = {"type": "httpTrigger", "name": "req", "route": "r"}
    return described(bindings=[trigger, {"type": "serviceBus", "direction": "OUT", **output}])


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (
            described(retry={"strategy": "linear", "max": 3}),
            "function f: its retry policy cannot be followed: its strategy is 'linear': it must be",
        ),
        (
            described(retry={"strategy": "fixed_delay", "max": -2, "delay": 1}),
            "its maximum number of retries is -2",
        ),
        (
            described(retry={"strategy": "fixed_delay", "max": 3}),
            "the fixed_delay strategy needs its delay interval",
        ),
        (
            described(retry={"strategy": "exponential_backoff", "max": 3, "minimum": 9, "maximum": 1}),
            "its minimum interval (9 s) is longer than its maximum (1 s)",
        ),
        (
            described(settlement="client"),
            "'client' settles messages, and the function has no serviceBusTrigger",
        ),
        (described(deferred=True), "binding 'req' of type httpTrigger with an SDK type as its parameter"),
        (
            described(bindings=[{"type": "blob", "name": "b", "direction": "OUT"}]),
            "binding 'b' of type blob (out)",
        ),
        (
            described(bindings=[{"type": "serviceBusTrigger", "name": "m", "topicName": "t"}]),
            "binding 'm' of type serviceBusTrigger must name either a queue or a topic and its subscription",
        ),
        (
            sending({"name": "o", "queueName": "q", "topicName": "t"}),
            "binding 'o' of type serviceBus must name either a queue or a topic",
        ),
        (
            sending({"name": "o", "queueName": "q-{id}"}),
            "binding 'o' of type serviceBus names 'q-{id}': binding expressions are not supported",
        ),
        (
            described(bindings=[{"type": "serviceBusTrigger", "name": "m", "queueName": "q", **NO_BATCH}]),
            "has a maxMessageBatchSize of 0: it must be a whole number of at least 1",
        ),
        (sending({"name": "req", "queueName": "q"}), "function f: 2 bindings are called 'req'"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(metadata: dict[str, object], reason: str) -> None:
    with pytest.raises(HostError) as caught:
        functions_of([described(), metadata], {})
    assert reason in caught.value.message
    assert caught.value.code == 1


def test_a_reference_in_a_binding_to_a_setting_that_is_not_set_is_named() -> None:
    timer = {"type": "timerTrigger", "name": "t", "schedule": "%NIGHTLY%"}
    with pytest.raises(HostError, match="function f, binding 't': %NIGHTLY% names an app setting"):
        functions_of([described(bindings=[timer])], {})


@pytest.mark.parametrize(("route", "prefix"), [("admin/x", ""), ("{x:colour}", "api"), ("x", "runtime")])
def test_a_route_that_cannot_be_served_is_refused_with_its_function(route: str, prefix: str) -> None:
    binding = {"type": "httpTrigger", "name": "req", "route": route}
    with pytest.raises(HostError, match="function f: "):
        RouteTable(functions_of([described(bindings=[binding])], {}), prefix)
