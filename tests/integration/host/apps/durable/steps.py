"""A blueprint: the activities and entities."""

import os
from pathlib import Path

import azure.durable_functions as df
from durabletask import entities

steps = df.Blueprint()


class Parcel:
    """A type of the app's own."""

    def __init__(self, weight: int) -> None:
        self.weight = weight

    @staticmethod
    def to_json(parcel: "Parcel") -> dict:
        return {"weight": parcel.weight}

    @staticmethod
    def from_json(document: dict) -> "Parcel":
        return Parcel(document["weight"])


@steps.activity_trigger(input_name="number")
def double(number: int) -> int:
    return number * 2 if isinstance(number, int) else number + 2


def times_called(name: str) -> int:
    with Path(os.environ["TRACE"]).open("a") as file:
        file.write(f"called {name}\n")
    return Path(os.environ["TRACE"]).read_text().splitlines().count(f"called {name}")


@steps.activity_trigger(input_name="name")
async def count(name: str) -> int:
    return times_called(name)


@steps.activity_trigger(input_name="name")
async def fails_twice(name: str) -> int:
    times = times_called(f"fails_twice {name}")
    if times < 3:
        raise OSError(f"failure {times}")
    return times


@steps.activity_trigger(input_name="path")
def fails_while_there(path: str) -> str:
    if Path(path).exists():
        raise FileExistsError(path)
    return "it is gone"


@steps.activity_trigger(input_name="parcel")
def load(parcel: Parcel) -> Parcel:
    return Parcel(parcel.weight + 1)


@steps.activity_trigger(input_name="given")
def repeat(given: dict) -> str:
    return given["text"] * given["times"]


@steps.activity_trigger(input_name="number")
def native_double(ctx, number):
    """As the durabletask SDK has activities: the context comes first."""
    return number * 2


@steps.entity_trigger(context_name="context")
def counter(context: df.DurableEntityContext):
    value = context.get_state(lambda: 0)
    match context.operation_name:
        case "add":
            value += context.get_input()
            context.set_state(value)
        case "delete":
            context.destruct_on_exit()
        case "fail":
            raise ValueError("this operation always fails")
    context.set_result(value)


@steps.entity_trigger(context_name="context", entity_name="account")
class Account(entities.DurableEntity):
    """An entity that is a class, registered under a name of its own."""

    def deposit(self, amount: int) -> int:
        self.set_state(self.get_state(int, 0) + amount)
        return self.get_state(int)

    def withdraw(self, amount: int) -> int:
        return self.deposit(-amount)

    def balance(self) -> int:
        return self.get_state(int, 0)


@steps.entity_trigger(context_name="context")
def notary(ctx, given):
    """As the durabletask SDK has functions: starts an orchestration and signals another entity."""
    if ctx.operation == "note":
        ctx.schedule_new_orchestration("noted", given, instance_id=f"noted-{ctx.entity_id.key}")
        ctx.signal_entity(entities.EntityInstanceId("counter", ctx.entity_id.key), "add", 1)
        ctx.set_state(given)
    return ctx.get_state(str, "")
