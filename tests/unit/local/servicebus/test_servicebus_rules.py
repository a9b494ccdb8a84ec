"""Rules that are added and removed while the broker runs: what a restart keeps of them."""

from pathlib import Path
from typing import Any

import pytest

from aos.local.servicebus import Broker, DatabaseError, EntityNotFoundError, Topology
from aos.local.servicebus.errors import ArgumentError, EntityExistsError
from aos.local.servicebus.journal import PUT_RULE
from aos.local.servicebus.rule_management import description_of, parse_rule

_RULE = {"Name": "given", "Properties": {"SqlFilter": {"SqlExpression": "a = 1"}}}
_TOPIC = {"Name": "t", "Subscriptions": [{"Name": "s", "Rules": [_RULE]}]}
_TOPOLOGY = Topology.parse({"UserConfig": {"Namespaces": [{"Name": "n", "Topics": [_TOPIC]}]}})
_CORRELATION = {"correlation-filter": {"label": "red", "properties": {"n": 1, "f": 0.5, "b": True}}}


async def test_a_restart_keeps_what_was_added_and_removed(tmp_path: Path):
    broker = await Broker.open(tmp_path / "bus.db", _TOPOLOGY)
    subscription = broker.namespace.subscription("T/Subscriptions/S")
    await subscription.add(parse_rule("Red", _CORRELATION))
    with pytest.raises(EntityExistsError):
        await subscription.add(parse_rule("RED", _CORRELATION))
    await subscription.remove("GIVEN")
    with pytest.raises(EntityNotFoundError):
        await subscription.remove("given")
    await broker.close()
    broker = await Broker.open(tmp_path / "bus.db", _TOPOLOGY)
    [rule] = broker.namespace.subscription("t/subscriptions/s").rules
    assert rule.name == "Red"
    assert description_of(rule) == description_of(parse_rule("Red", _CORRELATION))
    await broker.close()


async def test_a_damaged_rule_is_a_fault_of_the_database(tmp_path: Path):
    broker = await Broker.open(tmp_path / "bus.db", _TOPOLOGY)
    await broker.journal.submit([(PUT_RULE, ("t/subscriptions/s", "r", b"\xff"))])
    await broker.close()
    with pytest.raises(DatabaseError, match="a rule in the database is damaged"):
        await Broker.open(tmp_path / "bus.db", _TOPOLOGY)


async def test_each_rule_with_an_action_makes_a_changed_copy_of_its_own(tmp_path: Path):
    rules = [
        {"Name": "plain", "Properties": {"SqlFilter": {"SqlExpression": "1=1"}}},
        {"Name": "plain too", "Properties": {"CorrelationFilter": {"Label": "s"}}},
        {
            "Name": "marks",
            "Properties": {
                "FilterType": "Sql",
                "SqlFilter": {"SqlExpression": "n > 1"},
                "Action": {"SqlExpression": "SET n = n + 1; REMOVE gone; SET sys.Label = 'marked'"},
            },
        },
    ]
    topic = {"Name": "t", "Subscriptions": [{"Name": "s", "Rules": rules}]}
    topology = Topology.parse({"UserConfig": {"Namespaces": [{"Topics": [topic]}]}})
    broker = await Broker.open(tmp_path / "bus.db", topology)
    entity = "t/Subscriptions/s"
    await broker.namespace.subscription(entity).add(
        parse_rule(
            "swells",
            {
                "correlation-filter": {"label": "s"},
                "sql-rule-action": {"expression": "SET a = text; SET b = text"},
            },
        )
    )
    await broker.close()
    broker = await Broker.open(tmp_path / "bus.db", topology)
    given = {"n": 2, "gone": True, "text": "x"}
    await broker.send("t", b"x", subject="s", application_properties=given, message_id="m")
    copies = await broker.receiver(entity).receive(9, 5)
    found = [(each.application_properties, each.subject, each.message_id, each.body) for each in copies]
    assert found == [
        (given, "s", "m", b"x"),
        ({"n": 3, "text": "x", "RuleName": "marks"}, "marked", "m", b"x"),
        ({**given, "a": "x", "b": "x", "RuleName": "swells"}, "s", "m", b"x"),
    ]
    await broker.send("t", b"", subject="s", application_properties={"text": "y" * 100_000})
    [dead] = await broker.receiver(entity + "/$DeadLetterQueue").receive(9, 5)
    assert dead.dead_letter_reason == "RuleActionFailed"
    assert dead.application_properties["text"] == "y" * 100_000
    await broker.close()


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"sql-filter": 1},
        {"sql-filter": {"expression": "a ="}},
        {"sql-filter": {"expression": "1=1"}, "sql-rule-action": {"expression": "SET a"}},
        {"sql-filter": {"expression": "1=1"}, "sql-rule-action": {"expression": 5}},
        {"correlation-filter": {}},
        {"correlation-filter": {"label": 1}},
        {"correlation-filter": {"properties": {"a": []}}},
        {"correlation-filter": {"properties": {"a": 2**63}}},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(description: dict[str, Any]):
    with pytest.raises(ArgumentError):
        parse_rule("r", description)
