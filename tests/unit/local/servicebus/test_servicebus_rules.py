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


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"sql-filter": 1},
        {"sql-filter": {"expression": "a ="}},
        {"correlation-filter": {}},
        {"correlation-filter": {"label": 1}},
        {"correlation-filter": {"properties": {"a": []}}},
        {"correlation-filter": {"properties": {"a": 2**63}}},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(description: dict[str, Any]):
    with pytest.raises(ArgumentError):
        parse_rule("r", description)
