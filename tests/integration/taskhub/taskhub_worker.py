"""A worker to be killed: `python taskhub_worker.py ADDRESS` runs until its stdin ends."""

import logging
import sys
from datetime import timedelta

from durabletask import task
from durabletask.entities import EntityContext, EntityInstanceId
from durabletask.worker import TaskHubGrpcWorker

Context = task.OrchestrationContext


def add_one(_: task.ActivityContext, number: int) -> int:
    return number + 1


def account(context: EntityContext, amount: int) -> object:
    if context.operation == "add":
        context.set_state(context.get_state(int, 0) + amount)
    return context.get_state(int, 0)


def chain(context: Context, steps: int):
    number = 0
    for _ in range(steps):
        number = yield context.call_activity(add_one, input=number)
    return number


def fan(context: Context, width: int):
    results = yield task.when_all([context.call_activity(add_one, input=n) for n in range(width)])
    return sum(results)


def family(context: Context, steps: int):
    return sum((yield task.when_all([context.call_sub_orchestrator(chain, input=steps) for _ in range(3)])))


def deposit(context: Context, times: int):
    for _ in range(times):
        yield context.call_entity(EntityInstanceId("account", "bank"), "add", 1)
    return times


def transfer(context: Context, names: list[str]):
    """Move one from the first account to the second; fails if others get in between."""
    source, target = (EntityInstanceId("account", name) for name in names)
    with (yield context.lock_entities([source, target])):
        before = yield context.call_entity(source, "get")
        yield context.call_entity(source, "add", -1)
        after = yield context.call_entity(source, "get")
        if after != before - 1:
            raise RuntimeError(f"another got in between: {before}, then {after}")
        yield context.call_entity(target, "add", 1)
    return "moved"


def renew(context: Context, number: int):
    number = yield context.call_activity(add_one, input=number)
    yield context.create_timer(timedelta(milliseconds=20))
    if number < 4:
        context.continue_as_new(number)
        return None
    return number


def main() -> None:
    logging.disable(logging.CRITICAL)
    worker = TaskHubGrpcWorker(host_address=sys.argv[1])
    for orchestrator in (chain, fan, family, deposit, transfer, renew):
        worker.add_orchestrator(orchestrator)
    worker.add_activity(add_one)
    worker.add_entity(account)
    worker.start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
