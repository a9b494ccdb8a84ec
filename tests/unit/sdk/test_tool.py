import asyncio
import threading
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from aos.kernel.errors import AosError, InvalidDefinition, InvalidInput
from aos.sdk import Effect, Tool, ToolContext, ToolFailed, VolatileMemory, tool


class Item(BaseModel):
    """A line of an order."""

    sku: str = Field(description="stock keeping unit")
    count: int = 1


@dataclass
class Priced:
    total: float
    due: date


def context(key: str = "k" * 32) -> ToolContext:
    return ToolContext("acme", "run-1", "step", key, 0.0, VolatileMemory())


@tool(effect="none", timeout_s=5)
def price(items: list[Item], rate: Annotated[float, Field(gt=0, description="a factor")] = 2.0) -> Priced:
    """Price an order.

    The second paragraph
    goes on.

    Args:
        items: what is ordered,
            line by line.
        rate: never shown, the annotation says it.

    Returns:
        The price.
    """
    return Priced(sum(item.count for item in items) * rate, date(2027, 1, 2))


def test_the_definition_is_made_of_signature_and_docstring() -> None:
    definition = price.definition
    assert (definition.name, definition.effect, definition.timeout_s) == ("price", Effect.NONE, 5)
    assert definition.description == "Price an order.\n\nThe second paragraph goes on."
    parameters = definition.parameters
    assert parameters["type"] == "object"
    assert parameters["additionalProperties"] is False
    assert parameters["required"] == ["items"]
    assert parameters["properties"]["items"]["description"] == "what is ordered, line by line."
    rate = parameters["properties"]["rate"]
    assert rate == {"type": "number", "exclusiveMinimum": 0, "default": 2.0, "description": "a factor"}
    assert parameters["$defs"]["Item"]["additionalProperties"] is False
    assert "title" not in parameters["$defs"]["Item"]


async def test_a_call_validates_converts_and_dumps_the_result() -> None:
    result = await price.call({"items": [{"sku": "a", "count": 3}, {"sku": "b"}], "rate": 10}, context())
    assert result == {"total": 40.0, "due": "2027-01-02"}


async def test_a_default_is_the_functions_own() -> None:
    assert await price.call({"items": [{"sku": "a"}]}, context()) == {"total": 2.0, "due": "2027-01-02"}


@pytest.mark.parametrize(
    ("arguments", "parameter", "says"),
    [
        ({}, "items", "required"),
        ({"items": "a"}, "items", "not 'a'"),
        ({"items": [{"sku": 1}]}, "items.0.sku", "valid string"),
        ({"items": [{"sku": "a", "count": "1"}]}, "items.0.count", "not '1'"),
        ({"items": [{"sku": "a", "colour": "red"}]}, "items.0.colour", "not permitted"),
        ({"items": [], "rate": 0}, "rate", "greater than 0, not 0"),
        ({"items": [], "speed": 1}, "speed", "allowed: items, rate"),
    ],
)
async def test_a_wrong_argument_is_named_with_what_is_allowed(
    arguments: dict[str, Any], parameter: str, says: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await price.call(arguments, context())
    [problem] = caught.value.details["problems"]
    assert problem["parameter"] == parameter
    assert says in problem["problem"]
    assert caught.value.message == f"price: {parameter}: {problem['problem']}"


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), {1, 2}])
async def test_arguments_that_are_not_json_are_refused(rate: object) -> None:
    with pytest.raises(InvalidInput, match="price: the arguments are not JSON"):
        await price.call({"items": [], "rate": rate}, context())


async def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        price.check({"items": 1, "rate": -1, "x": 0})
    assert {problem["parameter"] for problem in caught.value.details["problems"]} == {"items", "rate", "x"}


async def test_wrong_arguments_never_reach_the_function() -> None:
    calls: list[int] = []

    @tool(effect="once")
    def act(n: int) -> None:
        """Act."""
        calls.append(n)

    with pytest.raises(InvalidInput):
        await act.call({"n": "1"}, context())
    assert calls == []


async def test_the_context_is_injected_and_is_no_argument() -> None:
    @tool(effect="idempotent")
    async def remember(ctx: ToolContext, value: str) -> str:
        """Remember."""
        await ctx.memory.insert("value", value)
        return ctx.idempotency_key

    assert list(remember.definition.parameters["properties"]) == ["value"]
    given = context("abc")
    assert await remember.call({"value": "x"}, given) == "abc"
    entry = await given.memory.get("value")
    assert entry is not None
    assert entry.value == "x"
    with pytest.raises(InvalidInput, match="ctx: there is no such parameter; allowed: value"):
        await remember.call({"value": "x", "ctx": {}}, given)


async def test_a_plain_function_does_not_block_the_loop() -> None:
    released = threading.Event()

    @tool(effect="none")
    def wait() -> bool:
        """Wait for the loop to let it go."""
        return released.wait(30)

    call = asyncio.create_task(wait.call({}, context()))
    await asyncio.sleep(0)
    released.set()
    assert await call is True


async def test_parameters_may_be_named_like_anything() -> None:
    @tool(effect="none")
    def odd(schema: int, model_config: int, self: int, json: int = 1) -> int:
        """Add."""
        return schema + model_config + self + json

    assert await odd.call({"schema": 1, "model_config": 2, "self": 3}, context()) == 7


async def test_a_tool_without_parameters_takes_an_empty_object() -> None:
    @tool(effect="none", name="the-answer")
    def answer() -> int:
        """Answer."""
        return 42

    assert answer.name == "the-answer"
    assert answer.definition.parameters["properties"] == {}
    assert await answer.call({}, context()) == 42


async def test_dates_and_literals_are_read_from_json() -> None:
    @tool(effect="none")
    def plan(day: date, mood: Literal["good", "bad"]) -> bool:
        """Plan."""
        return day == date(2027, 2, 3) and mood == "bad"

    assert await plan.call({"day": "2027-02-03", "mood": "bad"}, context()) is True
    with pytest.raises(InvalidInput, match="mood: Input should be 'good' or 'bad', not 'so-so'"):
        await plan.call({"day": "2027-02-03", "mood": "so-so"}, context())


@pytest.mark.parametrize("result", [float("nan"), object(), {"x": [float("-inf")]}])
async def test_a_result_that_json_cannot_hold_is_a_type_error(result: object) -> None:
    @tool(effect="none")
    def give() -> object:
        """Give."""
        return result

    with pytest.raises(TypeError, match="tool give returned what JSON cannot hold"):
        await give.call({}, context())


async def test_a_business_failure_passes_through_as_it_is() -> None:
    @tool(effect="once")
    def refuse() -> None:
        """Refuse."""
        raise ToolFailed("sold out", retryable=True, sku="a")

    with pytest.raises(ToolFailed, match="sold out") as caught:
        await refuse.call({}, context())
    assert caught.value.retryable
    assert (caught.value.code, caught.value.details) == ("tool_failed", {"sku": "a"})
    assert isinstance(caught.value, AosError)


async def test_any_other_exception_passes_through_too() -> None:
    @tool(effect="once")
    async def lose() -> None:
        """Lose the connection."""
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await lose.call({}, context())


async def test_a_queryable_tool_can_be_asked_by_its_key() -> None:
    done = {"paid": Priced(1.0, date(2027, 1, 1))}

    async def find(key: str, ctx: ToolContext) -> Priced | None:
        assert ctx.tenant == "acme"
        return done.get(key)

    @tool(effect="queryable", query=find)
    def pay() -> None:
        """Pay."""

    assert await pay.query(context("paid")) == {"total": 1.0, "due": "2027-01-01"}
    assert await pay.query(context("other")) is None


async def test_another_tool_cannot_be_asked() -> None:
    with pytest.raises(InvalidDefinition, match="price is not queryable"):
        await price.query(context())


def test_a_tool_called_as_a_function_is_the_function() -> None:
    assert price([Item(sku="a", count=2)], 3.0) == Priced(6.0, date(2027, 1, 2))
    assert isinstance(price, Tool)
    assert price.__doc__ is not None


def no_docstring(a: int) -> int:
    return a


def unannotated(a) -> int:  # type: ignore[no-untyped-def]
    """Take."""
    return int(a)


def variadic(*numbers: int) -> int:
    """Sum."""
    return sum(numbers)


def positional(a: int, /) -> int:
    """Take."""
    return a


def inexpressible(a: threading.Lock) -> None:
    """Take."""


def Capital(a: int) -> None:
    """Take."""


def odd_default(a: object = threading) -> None:
    """Take."""


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (no_docstring, "has no docstring"),
        (unannotated, "parameter a has no annotation"),
        (variadic, r"parameter \*numbers: int cannot be given by name"),
        (positional, "cannot be given by name"),
        (inexpressible, "cannot be expressed in JSON"),
        (odd_default, "default of a is not JSON"),
    ],
)
def test_a_function_that_cannot_be_a_tool_is_refused(function: Any, says: str) -> None:
    with pytest.raises(InvalidDefinition, match=says):
        tool(effect="none")(function)


def test_a_tools_name_has_the_form_of_an_id() -> None:
    with pytest.raises(InvalidInput, match="tool 'Capital' is not of the form"):
        tool(effect="none")(Capital)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"effect": "maybe"}, "effect 'maybe' is not one of none, idempotent, queryable, once"),
        ({"effect": "queryable"}, "`query` belongs to effect 'queryable'"),
        ({"effect": "once", "query": no_docstring}, "`query` belongs to effect 'queryable'"),
        ({"effect": "none", "timeout_s": 0}, "timeout_s 0 is not above 0"),
        ({"effect": "none", "timeout_s": float("inf")}, "timeout_s inf"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], says: str) -> None:
    def act() -> None:
        """Act."""

    with pytest.raises(InvalidDefinition, match=says):
        tool(**options)(act)
