"""SQL filters and correlation filters on a message's properties."""

from typing import Any

import pytest

from aos.local.servicebus.filters import FilterError, Properties, correlation_filter
from aos.local.servicebus.sql_action import Changes, sql_action
from aos.local.servicebus.sql_filter import sql_filter

_MESSAGE = Properties(
    {"message_id": "m1", "subject": "order", "group_id": "s"},
    {"colour": "red", "quantity": 7, "price": 2.5, "urgent": True, "note": "50% off", "odd name": 1},
)


@pytest.mark.parametrize(
    "text",
    [
        "1=1",
        "colour = 'red'",
        "user.colour = 'red' and sys.Label = 'order'",
        "quantity > 5 AND NOT quantity >= 8",
        "quantity * 2 + 1 = 15",
        "-quantity < 0 and quantity % 4 = 3",
        "price * (quantity - 3) = 10",
        "colour IN ('blue', 'red')",
        "colour NOT IN ('blue')",
        "colour LIKE 'r_d'",
        "note LIKE '50!%%' ESCAPE '!'",
        "colour NOT LIKE '%blue%'",
        "missing IS NULL and colour is not null",
        "EXISTS(colour) and not exists(user.missing)",
        "urgent = true",
        "urgent",
        '[odd name] = 1 and "odd name" = 1',
        "missing = 1 or colour <> 'blue'",
        "sys.MessageId = 'm1' and sys.SessionId = 's'",
        "'it''s' = 'it''s'",
        "property('odd name') = 1 and p('colour') = 'red' and property('miss' + 'ing') is null",
        "newid() <> newid()",
    ],
)
def test_an_expression_that_is_true_matches(text: str):
    assert sql_filter(text).matches(_MESSAGE)


@pytest.mark.parametrize(
    "text",
    [
        "1=0",
        "colour = 'Red'",
        "missing = 1",
        "not missing = 1",
        "missing <> 1",
        "quantity = '7'",
        "colour > 5",
        "quantity / 0 = 1",
        "quantity",
        "colour LIKE 'r'",
        "missing LIKE '%'",
        "missing IN (1, 2)",
        "colour in (missing)",
    ],
)
def test_an_expression_that_is_false_or_unknown_does_not_match(text: str):
    assert not sql_filter(text).matches(_MESSAGE)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "expected a property at the end"),
        ("a = ", "at the end"),
        ("a = 1 b", "expected the end at character 7"),
        ("a ? 1", "cannot read '? 1' at character 3"),
        ("sys.Nothing = 1", "no system property sys.Nothing"),
        ("(a = 1", "expected ')'"),
        ("a IS 5", "expected NULL"),
        ("(" * 200 + "1" + ")" * 200, "nests deeper"),
        ("not " * 200 + "a", "nests deeper"),
        ("-" * 200 + "1 = 1", "nests deeper"),
    ],
)
def test_an_expression_that_cannot_be_read_says_where(text: str, complaint: str):
    with pytest.raises(FilterError) as error:
        sql_filter(text)
    assert complaint in str(error.value)


@pytest.mark.parametrize(
    ("user", "system", "matches"),
    [
        ({}, {"Label": "order"}, True),
        ({"colour": "red"}, {"Label": "order", "MessageId": "m1"}, True),
        ({"colour": "blue"}, {"Label": "order"}, False),
        ({"missing": "x"}, {}, False),
        ({"quantity": "7"}, {}, False),
        ({}, {"CorrelationId": "c"}, False),
    ],
)
def test_a_correlation_filter_wants_every_value_to_be_equal(user: Any, system: Any, matches: bool):
    assert correlation_filter(user, **system).matches(_MESSAGE) is matches


def _changes(text: str) -> Changes:
    return sql_action(text).changes(_MESSAGE)


def test_an_action_sets_and_removes_properties_one_after_the_other():
    changes = _changes(
        "SET colour = 'blue'; SET quantity = quantity * 2; SET again = quantity + 1;"
        " SET sys.Label = sys.MessageId + '-' + colour, SET sys.To = 5; SET sys.ReplyTo = NULL;"
        " REMOVE again; SET gone = again; REMOVE [odd name];"
    )
    assert changes.user == {"colour": "blue", "quantity": 14, "gone": None}
    assert changes.removed == {"again", "odd name"}
    assert changes.system == {"subject": "m1-blue", "to": "5", "reply_to": None}


def test_what_an_action_cannot_calculate_or_a_message_cannot_carry_becomes_null():
    changes = _changes("SET a = colour * 2; SET b = quantity * 9000000000000000000")
    assert changes.user == {"a": None, "b": None}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "expected SET or REMOVE at the end"),
        ("SET a", "expected '=' at the end"),
        ("SET a = 1 b", "expected the end at character 11"),
        ("REMOVE sys.Label", "not sys.Label"),
        ("SET sys.Nothing = 1", "no system property sys.Nothing"),
        ("DROP TABLE a", "expected SET or REMOVE at character 1"),
        ("SET a = " + "p(" * 200 + "'a'" + ")" * 200, "nests deeper"),
    ],
)
def test_an_action_that_cannot_be_read_says_where(text: str, complaint: str):
    with pytest.raises(FilterError) as error:
        sql_action(text)
    assert complaint in str(error.value)
