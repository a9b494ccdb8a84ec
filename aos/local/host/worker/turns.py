"""Turns of orchestrations and batches of entities that need not pass through the worker library.

It would carry them as text and decode them twice. A turn that goes on from the one before is answered with
`lacks_history` where the orchestration is not kept.
"""

from collections.abc import MutableMapping
from typing import Any

from aos.local.host.worker.jobs import Job, Outcome
from aos.local.host.worker.kept import Kept
from aos.local.host.worker.programs import EntityProgram, Orchestrator
from aos.local.host.worker.runtime import handle_event

_WRAPPER = "wrap_invocation.<locals>.wrapper"  # what the SDK makes of an orchestrator or entity


class Turn(Job):
    """A turn of an orchestration, which is kept for the next one if the turn has a token to name it by."""

    def __init__(
        self,
        head: dict[str, Any],
        name: str,
        running: MutableMapping[str, str],
        body: bytes,
        program: tuple[Orchestrator, Kept],
    ) -> None:
        super().__init__(head["id"], name, running)
        self._head = head
        self._body = body
        self._orchestrator, self._kept = program

    def _call(self) -> Outcome:
        instance, after, token = self._head["instance"], self._head["after"], self._head["token"]
        size = len(self._body)
        before = self._kept.take(instance, after)
        if before is not None:
            size += before.size
            response, alive = before.alive.go_on(self._body)
        elif after is None:
            response, alive = self._orchestrator.turn(self._body)
        else:
            return {"ok": True, "lacks_history": True}, b""
        if alive is None or token is None:
            return {"ok": True}, response
        self._kept.keep(instance, token, alive, size)
        return {"ok": True, "kept": True}, response


class Batch(Job):
    """A batch of operations on an entity."""

    def __init__(
        self,
        head: dict[str, Any],
        name: str,
        running: MutableMapping[str, str],
        body: bytes,
        entity: EntityProgram,
    ) -> None:
        super().__init__(head["id"], name, running)
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

    def job(self, head: dict[str, Any], name: str, running: MutableMapping[str, str], body: bytes) -> Job:
        """The turn or batch that a frame asks for."""
        entity = self._entities.get(head["function"])
        if entity is not None:
            return Batch(head, name, running, body, entity)
        return Turn(head, name, running, body, (self._orchestrators[head["function"]], self._kept))


def _below_the_sdk(described: dict[str, Any]) -> tuple[Any, Any]:
    """The app's orchestrator or entity below what the SDK made of it.

    Neither for any other function, and where there is more to it than its trigger.
    """
    function = handle_event._functions.get_function(described["id"]).func
    code = getattr(function, "__code__", None)
    if len(described["bindings"]) != 1 or code is None or code.co_qualname != _WRAPPER:
        return None, None
    return getattr(function, "orchestrator_function", None), getattr(function, "entity_function", None)
