"""Turns of orchestrations and batches of entities that need not pass through the worker library.

It would carry them as text and decode them twice. A turn that goes on from the one before is answered with
`lacks_history` where the orchestration is not kept.
"""

from collections.abc import Callable
from typing import Any

from aos.local.host.worker.jobs import Job, Outcome
from aos.local.host.worker.kept import Kept
from aos.local.host.worker.programs import Alive, EntityProgram, Orchestrator
from aos.local.host.worker.runtime import handle_event

_WRAPPER = "wrap_invocation.<locals>.wrapper"  # what the SDK makes of an orchestrator or entity

type Finish = Callable[[str, bytes], None]


class Turn(Job):
    """A turn of an orchestration, which is kept for the next one if the turn has a token to name it by."""

    def __init__(
        self, head: dict[str, Any], body: bytes, finish: Finish, orchestrator: Orchestrator, kept: Kept
    ) -> None:
        super().__init__(head["id"], finish)
        self._head = head
        self._body = body
        self._orchestrator = orchestrator
        self._kept = kept
        self._size = len(body)
        self._before = kept.take(head["instance"], head["after"])
        self._alive: Alive | None = None

    def run(self) -> None:
        """As of any job; nothing is run without the history that it takes."""
        if self._before is None and self._head["after"] is not None:
            self._outcome = {"ok": True, "lacks_history": True}, b""
        else:
            super().run()

    def end(self) -> None:
        """Keep what can be gone on from before the host learns that it can."""
        if self._alive is not None and not self._given_up:
            self._kept.keep(self._head["instance"], self._head["token"], self._alive, self._size)
        super().end()

    def _call(self) -> Outcome:
        if self._before is None:
            response, self._alive = self._orchestrator.turn(self._body)
        else:
            self._size += self._before.size
            response, self._alive = self._before.alive.go_on(self._body)
        if self._head["token"] is None:
            self._alive = None
        return {"ok": True, "kept": self._alive is not None}, response


class Batch(Job):
    """A batch of operations on an entity."""

    def __init__(self, head: dict[str, Any], body: bytes, finish: Finish, entity: EntityProgram) -> None:
        super().__init__(head["id"], finish)
        self._body = body
        self._entity = entity

    def _call(self) -> Outcome:
        return {"ok": True}, self._entity.batch(self._body)


class Turns:
    """The orchestrators and entities that can be run here, by function id."""

    def __init__(self, described: list[dict[str, Any]]) -> None:
        self._orchestrators: dict[str, Orchestrator] = {}
        self._entities: dict[str, EntityProgram] = {}
        self._kept = Kept()
        for each in described:
            orchestrator, entity = _below_the_sdk(each)
            if orchestrator is not None:
                self._orchestrators[each["id"]] = Orchestrator(orchestrator)
            elif entity is not None:
                self._entities[each["id"]] = EntityProgram(entity)

    def __contains__(self, function_id: str) -> bool:
        return function_id in self._orchestrators or function_id in self._entities

    def job(self, head: dict[str, Any], body: bytes, finish: Finish) -> Job:
        """The turn or batch that a frame asks for."""
        entity = self._entities.get(head["function"])
        if entity is not None:
            return Batch(head, body, finish, entity)
        return Turn(head, body, finish, self._orchestrators[head["function"]], self._kept)


def _below_the_sdk(described: dict[str, Any]) -> tuple[Any, Any]:
    """The app's orchestrator or entity below what the SDK made of it.

    Neither for any other function, and where there is more to it than its trigger.
    """
    function = handle_event._functions.get_function(described["id"]).func
    code = getattr(function, "__code__", None)
    if len(described["bindings"]) != 1 or code is None or code.co_qualname != _WRAPPER:
        return None, None
    return getattr(function, "orchestrator_function", None), getattr(function, "entity_function", None)
