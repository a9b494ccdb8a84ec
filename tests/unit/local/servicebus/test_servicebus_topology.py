"""The topology: what the emulator's format says, and what it must not say."""

from pathlib import Path
from typing import Any

import pytest

from aos.local.servicebus import Topology, TopologyError


def _document(queues: Any = (), topics: Any = ()) -> dict[str, Any]:
    namespace = {"Name": "sbemulatorns", "Queues": list(queues), "Topics": list(topics)}
    return {"UserConfig": {"Namespaces": [namespace], "Logging": {"Type": "File"}}}


def _forwarding(name: str, target: str) -> dict[str, Any]:
    return {"Name": name, "Properties": {"ForwardDeadLetteredMessagesTo": target}}


def test_a_queue_has_the_properties_that_the_document_gives():
    properties = {
        "DeadLetteringOnMessageExpiration": True,
        "DefaultMessageTimeToLive": "P1DT1H",
        "DuplicateDetectionHistoryTimeWindow": "PT20S",
        "ForwardDeadLetteredMessagesTo": "",
        "ForwardTo": "",
        "LockDuration": "PT1M30S",
        "MaxDeliveryCount": 3,
        "RequiresDuplicateDetection": True,
        "RequiresSession": False,
    }
    [queue] = Topology.parse(_document([{"Name": "q", "Properties": properties}])).queues
    settings = queue.settings
    assert (settings.lock_ms, settings.max_delivery_count) == (90_000, 3)
    assert settings.default_ttl_ms == 25 * 3_600_000
    assert settings.dead_letter_on_expiration
    assert settings.duplicate_window_ms == 20_000
    assert settings.forwards == ()


def test_what_a_document_leaves_out_is_as_the_service_has_it():
    [queue] = Topology.parse(_document([{"Name": "q"}])).queues
    settings = queue.settings
    assert (settings.lock_ms, settings.max_delivery_count, settings.default_ttl_ms) == (60_000, 10, None)
    assert settings.duplicate_window_ms is None
    assert not settings.requires_session


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ([], "$: expected an object"),
        ({}, "$.UserConfig: missing"),
        ({"UserConfig": {"Namespaces": []}}, "UserConfig.Namespaces: expected"),
        (_document([{"Name": 5}]), "Queues[0].Name: expected a string, found a number"),
        (_document([{}]), "Queues[0].Name: missing"),
        (_document([{"Name": "a b"}]), "Queues[0].Name: 'a b' is no entity name"),
        (_document([{"Name": "q"}, {"Name": "Q"}]), "'Q' is there twice"),
        (_document([{"Name": "q", "Propertys": {}}]), "Queues[0].Propertys: unknown key"),
        (_document([{"Name": "q", "Properties": {"Lock": 1}}]), "Queues[0].Properties.Lock: unknown key"),
        (_document([{"Name": "q", "Properties": {"LockDuration": "1m"}}]), "Properties.LockDuration: '1m'"),
        (_document([{"Name": "q", "Properties": {"LockDuration": "PT6M"}}]), "at most PT5M"),
        (_document([{"Name": "q", "Properties": {"LockDuration": "PT0S"}}]), "longer than nothing"),
        (_document([{"Name": "q", "Properties": {"MaxDeliveryCount": True}}]), "Properties.MaxDeliveryCount"),
        (_document([{"Name": "q", "Properties": {"RequiresSession": "no"}}]), "expected true or false"),
        (_document([{"Name": "q", "Properties": {"Status": "off"}}]), "Status: expected one of Active"),
        (_document([{"Name": "q", "Properties": {"MaxSizeInMegabytes": 0}}]), "a number from 1 to 81920"),
        (_document([{"Name": "q", "Properties": {"ForwardTo": "z"}}]), "nothing is called 'z'"),
        (_document([{"Name": "q", "Properties": {"ForwardTo": "q"}}]), "in a circle: q -> q"),
        (
            _document([{"Name": "q", "Properties": {"ForwardDeadLetteredMessagesTo": "z"}}]),
            "nothing is called 'z', to which 'q' forwards",
        ),
        (
            _document([_forwarding("q", "p"), {"Name": "p", "Properties": {"ForwardTo": "q"}}]),
            "in a circle: q -> p -> q",
        ),
        (
            _document(topics=[{"Name": "t", "Subscriptions": [_forwarding("s", "t")]}]),
            "in a circle: t -> t",
        ),
        (
            _document(topics=[{"Name": "t", "Subscriptions": [{"Name": "s", "Rules": [{"Name": "r"}]}]}]),
            "Topics[0].Subscriptions[0].Rules[0].Properties: missing",
        ),
    ],
)
def test_a_wrong_document_is_refused_with_its_path(document: Any, complaint: str):
    with pytest.raises(TopologyError) as refusal:
        Topology.parse(document)
    assert complaint in str(refusal.value)


def test_a_wrong_sql_filter_is_refused_where_it_stands():
    rule = {"Name": "r", "Properties": {"FilterType": "Sql", "SqlFilter": {"SqlExpression": "a = "}}}
    document = _document(topics=[{"Name": "t", "Subscriptions": [{"Name": "s", "Rules": [rule]}]}])
    with pytest.raises(TopologyError, match=r"Rules\[0\]\.Properties\.SqlFilter\.SqlExpression: expected"):
        Topology.parse(document)


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path):
    missing = tmp_path / "missing.json"
    with pytest.raises(TopologyError, match=r"missing\.json: No such file"):
        Topology.load(missing)
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(TopologyError, match=r"broken\.json: not JSON"):
        Topology.load(broken)
