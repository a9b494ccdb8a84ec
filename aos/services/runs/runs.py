"""Accepting, finding and ending runs."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema

from aos.kernel.canonical import digest
from aos.kernel.errors import Conflict, InvalidInput, NotFound
from aos.kernel.workflows.definition import WorkflowDefinition
from aos.kernel.workflows.expressions import refuse_nul
from aos.services.definitions.definitions import Definitions
from aos.services.environment.clock import Clock
from aos.services.runs.doorbells import Doorbell, Doorbells
from aos.services.runs.run import Run, RunStatus, is_run_id, new_run_id, sort_key
from aos.services.runs.values import Values
from aos.services.storage import layout
from aos.services.storage.ports import AlreadyExists, Row, Rows, Stale

RUNS = layout.RUNS
REQUESTS = layout.REQUESTS
_RANDOM_BYTES = 10


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks to be run."""

    workflow: str
    input: Mapping[str, Any]
    budget_micro_usd: int | None
    actor: str
    idempotency_key: str | None = None
    trace: str | None = None

    @property
    def hash(self) -> str:
        """What two requests under one idempotency key must have in common."""
        return digest([self.workflow, dict(self.input), self.budget_micro_usd])


class Runs:
    """The runs of one tenant."""

    def __init__(
        self,
        *,
        rows: Rows,
        values: Values,
        definitions: Definitions,
        doorbells: Doorbells,
        clock: Clock,
        tenant: str,
    ) -> None:
        self._rows = rows
        self._values = values
        self._definitions = definitions
        self._doorbells = doorbells
        self._clock = clock
        self._tenant = tenant

    async def accept(self, request: Request, definition: WorkflowDefinition) -> tuple[Run, Doorbell | None]:
        """Write the run down, once for one idempotency key; the doorbell starts it.

        The same key with the same request is the same run; None in the doorbell's place says that it
        was accepted before.

        Raises:
            InvalidInput: the input does not fit the workflow's schema; says where.
            Conflict: the idempotency key was used for another request.
        """
        check_input(definition, request.input)
        run_id = await self._claim_id(request)
        known = await self._rows.get(RUNS, self._tenant, sort_key(run_id))
        if known is not None:
            return Run.from_json(known.value), None
        run = Run(
            id=run_id,
            tenant=self._tenant,
            workflow=definition.name,
            definition=await self._definitions.keep(definition),
            status=RunStatus.ACCEPTED,
            created_at=self._clock(),
            created_by=request.actor,
            input=await self._values.keep(run_id, dict(request.input)),
            budget_micro_usd=request.budget_micro_usd,
            trace=request.trace,
        )
        bell = await self._doorbells.remember(run_id, "start")
        try:
            await self._rows.insert(RUNS, self._tenant, sort_key(run_id), run.to_json())
        except AlreadyExists:
            return await self.get(run_id), None
        return run, bell

    async def _claim_id(self, request: Request) -> str:
        run_id = new_run_id(self._clock(), secrets.token_bytes(_RANDOM_BYTES))
        if request.idempotency_key is None:
            return run_id
        key = hashlib.sha256(request.idempotency_key.encode()).hexdigest()
        try:
            await self._rows.insert(REQUESTS, self._tenant, key, {"run": run_id, "hash": request.hash})
        except AlreadyExists:
            row = await self._rows.get(REQUESTS, self._tenant, key)
            assert row is not None
            if row.value["hash"] != request.hash:
                raise Conflict(
                    "this idempotency key was used for another request", run=row.value["run"]
                ) from None
            return str(row.value["run"])
        return run_id

    async def get(self, run_id: str) -> Run:
        """Return the run; ``NotFound`` if there is none."""
        return Run.from_json((await self._row(run_id)).value)

    async def _row(self, run_id: str) -> Row:
        row = None
        if is_run_id(run_id):
            row = await self._rows.get(RUNS, self._tenant, sort_key(run_id))
        if row is None:
            raise NotFound(f"there is no run {run_id!r}", run=run_id)
        return row

    async def list(
        self, *, limit: int, after: str | None = None, status: RunStatus | None = None
    ) -> tuple[list[Run], str | None]:
        """Return runs, newest first, and the id after which to go on, if there are more."""
        key = sort_key(after) if after else None
        found: list[Run] = []
        while True:
            page = await self._rows.list(RUNS, self._tenant, after=key, limit=limit)
            runs = (Run.from_json(row.value) for row in page.rows)
            found += [run for run in runs if status is None or run.status is status]
            key = page.next_key
            if len(found) > limit or (len(found) == limit and key is not None):
                return found[:limit], found[limit - 1].id
            if key is None:
                return found, None

    async def request_cancel(self, run_id: str, actor: str, reason: str) -> Run:
        """Write down that the run is to stop. The first request stands; an ended run is a ``Conflict``."""

        def ask(run: Run) -> Run:
            if run.ended:
                raise Conflict(f"run {run.id} is {run.status} already", run=run.id, status=run.status)
            return run if run.cancel else run.changed(cancel={"actor": actor, "reason": reason})

        return await self.update(run_id, ask)

    async def update(self, run_id: str, change: Callable[[Run], Run]) -> Run:
        """Change the run's row; ``change`` is asked again when somebody else wrote first."""
        while True:
            row = await self._row(run_id)
            before = Run.from_json(row.value)
            after = change(before)
            if after == before:
                return after
            try:
                await self._rows.replace(RUNS, row, after.to_json())
            except Stale:
                continue
            return after


def check_input(definition: WorkflowDefinition, value: Mapping[str, Any]) -> None:
    """Check a run's input against the workflow's schema.

    Raises:
        InvalidInput: with every problem as ``{"at": JSON pointer, "message"}`` in ``details["problems"]``;
            or because of a NUL character, which expressions do not take.
    """
    refuse_nul(value)
    validator = jsonschema.Draft202012Validator(definition.input)
    errors = sorted(validator.iter_errors(dict(value)), key=lambda error: list(map(str, error.absolute_path)))
    if errors:
        problems = [{"at": _pointer(error), "message": _shortened(error.message)} for error in errors[:20]]
        first = problems[0]
        raise InvalidInput(
            f"the input of workflow {definition.name!r} is not valid: at {first['at']}: {first['message']}",
            problems=problems,
        )


def _pointer(error: jsonschema.ValidationError) -> str:
    return "/" + "/".join(str(part) for part in error.absolute_path)


def _shortened(message: str) -> str:
    return message if len(message) <= 300 else f"{message[:300]}..."
