"""Golden histories: what orchestrators were given in a real run, turn by turn, and what they answered.

The events of an execution are kept once; a turn says how many of them were past and how many new.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import azure.durable_functions as df
import durabletask.internal.orchestrator_service_pb2 as pb
from azure.durable_functions.worker import DurableFunctionsWorker
from google.protobuf.json_format import MessageToDict, ParseDict

from aos.functions import orchestrators

HISTORIES = Path(__file__).parent / "histories"

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """The first `past` events of the execution were known, `new` more came, and so it answered."""

    past: int
    new: int
    actions: list[Json]


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution of an orchestration, from its start to its end or its continuation as new."""

    orchestrator: str
    instance: str
    execution: str
    events: list[Json]
    turns: list[Turn]

    def request(self, turn: Turn) -> pb.OrchestratorRequest:
        """The work item of a turn."""
        events = [ParseDict(event, pb.HistoryEvent()) for event in self.events[: turn.past + turn.new]]
        request = pb.OrchestratorRequest(
            instanceId=self.instance, pastEvents=events[: turn.past], newEvents=events[turn.past :]
        )
        request.executionId.value = self.execution
        return request


@dataclass(frozen=True, slots=True)
class History:
    """A run with its steps; `max_turns` is what it was recorded with."""

    max_turns: int
    executions: list[Execution]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where today's orchestrator answers something else than was recorded."""

    instance: str
    turn: int
    recorded: list[Json]
    replayed: list[Json]

    def __str__(self) -> str:
        """Show the first actions that differ."""
        longest = max(len(self.recorded), len(self.replayed))
        pairs = [(_at(self.recorded, i), _at(self.replayed, i)) for i in range(longest)]
        recorded, replayed = next(pair for pair in pairs if pair[0] != pair[1])
        return f"{self.instance}, turn {self.turn}:\n  recorded {recorded}\n  replayed {replayed}"


def replay(history: History) -> list[Difference]:
    """Give every turn to the orchestrators as they are now, through the SDK's worker."""
    worker, functions = DurableFunctionsWorker(), _functions()
    differences = []
    for execution in history.executions:
        for number, turn in enumerate(execution.turns):
            body = base64.b64encode(execution.request(turn).SerializeToString()).decode()
            answer = worker.execute_orchestration_request(functions[execution.orchestrator], body)
            replayed = _actions(pb.OrchestratorResponse.FromString(base64.b64decode(answer)))
            if replayed != turn.actions:
                differences.append(Difference(execution.instance, number, turn.actions, replayed))
    return differences


def assemble(recorded: Iterable[tuple[pb.OrchestratorRequest, pb.OrchestratorResponse]]) -> list[Execution]:
    """Make executions of the turns that a worker was given, in the order in which it was.

    Raises:
        ValueError: a turn does not continue the one before it.
    """
    executions: dict[tuple[str, str], Execution] = {}
    for request, response in recorded:
        past = [MessageToDict(event) for event in request.pastEvents]
        new = [MessageToDict(event) for event in request.newEvents]
        key = (request.instanceId, request.executionId.value)
        execution = executions.setdefault(key, Execution(_name([*past, *new]), *key, events=[], turns=[]))
        known = len(execution.events)
        if past[:known] != execution.events:
            raise ValueError(f"turn {len(execution.turns)} of {request.instanceId} has another past")
        execution.events.extend([*past[known:], *new])
        execution.turns.append(Turn(len(past), len(new), _actions(response)))
    return list(executions.values())


def load(name: str) -> History:
    """Read a golden history."""
    document = json.loads((HISTORIES / f"{name}.json").read_text())
    executions = [
        Execution(**{**each, "turns": [Turn(**turn) for turn in each["turns"]]})
        for each in document["executions"]
    ]
    return History(document["max_turns"], executions)


def save(name: str, history: History) -> Path:
    """Write a golden history, an event and a turn to a line."""
    executions = ",\n".join(
        f'{{"orchestrator": "{each.orchestrator}", "instance": "{each.instance}", '
        f'"execution": "{each.execution}",\n"events": {_lines(each.events)},\n'
        f'"turns": {_lines({"past": t.past, "new": t.new, "actions": t.actions} for t in each.turns)}}}'
        for each in history.executions
    )
    path = HISTORIES / f"{name}.json"
    path.write_text(f'{{"max_turns": {history.max_turns}, "executions": [\n{executions}\n]}}\n')
    return path


def _functions() -> Mapping[str, Any]:
    app = df.DFApp()
    app.register_functions(orchestrators.blueprint)
    return {str(each.get_function_name()): _orchestrator(each) for each in app.get_functions()}


def _orchestrator(function: Any) -> Any:
    return getattr(function.get_user_function(), "orchestrator_function", None)


def _actions(response: pb.OrchestratorResponse) -> list[Json]:
    return [MessageToDict(action) for action in response.actions]


def _name(events: list[Json]) -> str:
    started = [event["executionStarted"] for event in events if "executionStarted" in event]
    return str(started[-1]["name"])


def _lines(values: Iterable[Json]) -> str:
    return "[\n " + ",\n ".join(json.dumps(value, ensure_ascii=False) for value in values) + "]"


def _at(actions: list[Json], index: int) -> Json | None:
    return actions[index] if index < len(actions) else None
