"""The task hub: one method for each call of the durabletask protocol."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Self

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc

from aos.local.taskhub import queries
from aos.local.taskhub.clock import SECOND, Clock, SystemClock
from aos.local.taskhub.engine import Engine
from aos.local.taskhub.errors import HubError, not_found
from aos.local.taskhub.ids import LONGEST_ID, IdRules
from aos.local.taskhub.records import TERMINAL
from aos.local.taskhub.wire import BoolValue, optional, text
from aos.local.taskhub.workers import WorkerCalls

_log = logging.getLogger(__name__)

_CACHE_BYTES = 64 * 1024 * 1024
_PURGED_AT_ONCE = 100
_RETENTION_CHECK_S = 60


class TaskHub(WorkerCalls):
    """A durable task hub in one SQLite file. All methods belong to the event loop that opened it.

    Every method that changes something returns when the change is on disk, and raises `HubError`
    with nothing changed otherwise.
    """

    def __init__(self, engine: Engine, retention: timedelta | None) -> None:
        super().__init__(engine)
        self._entities.start_instance = lambda origin: self._instances.create(origin, TERMINAL)
        self._retention = asyncio.create_task(self._retain(retention)) if retention is not None else None

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        clock: Clock | None = None,
        retention: timedelta | None = None,
        cache_bytes: int = _CACHE_BYTES,
        longest_id: int = LONGEST_ID,
    ) -> Self:
        """Open or create the hub in the file `path`; `HubError` if that cannot be done.

        With a `retention`, instances that ended longer ago are purged. `cache_bytes` bounds the
        histories of live instances that are kept in memory. Ids longer than `longest_id` are refused.
        """
        engine = await Engine.open(path, clock or SystemClock(), cache_bytes)
        engine.state.ids = IdRules(longest_id)
        return cls(engine, retention)

    async def close(self) -> None:
        """End all work item streams, write what is open, close the file."""
        if self._retention is not None:
            self._retention.cancel()
            await asyncio.wait([self._retention])
        self.end_work()
        await self._engine.close()

    # -- instances

    async def start_instance(self, request: pb.CreateInstanceRequest) -> pb.CreateInstanceResponse:
        """Start an instance. An id whose instance ended may be taken again, unless the policy forbids it."""
        instance_id = await self._engine.change(lambda: self._instances.start(request))
        return pb.CreateInstanceResponse(instanceId=instance_id)

    async def get_instance(self, request: pb.GetInstanceRequest) -> pb.GetInstanceResponse:
        """The state of an instance."""
        return await self._engine.look_current(lambda db: _state(db, request))

    async def wait_for_instance_start(self, request: pb.GetInstanceRequest) -> pb.GetInstanceResponse:
        """The state of an instance once it has begun to run."""
        return await self._wait(request, lambda status: status != pb.ORCHESTRATION_STATUS_PENDING)

    async def wait_for_instance_completion(self, request: pb.GetInstanceRequest) -> pb.GetInstanceResponse:
        """The state of an instance once it has ended.

        One that does not exist yet is waited for; `exists` is false if it is removed meanwhile.
        """
        return await self._wait(request, lambda status: status in TERMINAL)

    async def _wait(
        self, request: pb.GetInstanceRequest, reached: Callable[[pb.OrchestrationStatus], bool]
    ) -> pb.GetInstanceResponse:
        existed = False
        while True:
            with self._engine.watch(request.instanceId) as changed:
                held = self._state.held(request.instanceId)
                if held is not None and not reached(held.status):  # what is on disk is never ahead of it
                    existed = True
                    await changed
                    continue
                response = self._engine.look(lambda db: _state(db, request))
                if response.exists:
                    existed = True
                    if reached(response.orchestrationState.orchestrationStatus):
                        return response
                elif existed:
                    return response
                await changed

    async def raise_event(self, request: pb.RaiseEventRequest) -> pb.RaiseEventResponse:
        """Send an external event to an instance; one that has ended ignores it."""
        await self._engine.change(lambda: self._instances.raise_event(request))
        return pb.RaiseEventResponse()

    async def terminate_instance(self, request: pb.TerminateRequest) -> pb.TerminateResponse:
        """Order an instance to end, and its children if so asked."""
        output = optional(request, "output")

        def terminate() -> None:
            instance = self._instances.require(request.instanceId)
            self._instances.terminate(instance, output, recurse=request.recursive)

        await self._engine.change(terminate)
        return pb.TerminateResponse()

    async def skip_graceful_orchestration_terminations(
        self, request: pb.SkipGracefulOrchestrationTerminationsRequest
    ) -> pb.SkipGracefulOrchestrationTerminationsResponse:
        """End instances without asking their workers."""
        reason = optional(request, "reason")

        def terminate() -> list[str]:
            ids = request.instanceBatch.instanceIds
            return [each for each in ids if not self._instances.force_termination(each, reason)]

        left = await self._engine.change(terminate)
        return pb.SkipGracefulOrchestrationTerminationsResponse(unterminatedInstanceIds=left)

    async def suspend_instance(self, request: pb.SuspendRequest) -> pb.SuspendResponse:
        """Hold an instance."""
        await self._engine.change(lambda: self._instances.suspend(request))
        return pb.SuspendResponse()

    async def resume_instance(self, request: pb.ResumeRequest) -> pb.ResumeResponse:
        """Let a held instance go on."""
        await self._engine.change(lambda: self._instances.resume(request))
        return pb.ResumeResponse()

    async def rewind_instance(self, request: pb.RewindInstanceRequest) -> pb.RewindInstanceResponse:
        """Take a failed instance, and its failed children, back to before the failure."""
        reason = optional(request, "reason")
        await self._engine.change(
            lambda: self._instances.rewind(self._instances.require(request.instanceId), reason)
        )
        return pb.RewindInstanceResponse()

    async def restart_instance(self, request: pb.RestartInstanceRequest) -> pb.RestartInstanceResponse:
        """Run an ended instance again from its input."""
        instance_id = await self._engine.change(lambda: self._instances.restart(request))
        return pb.RestartInstanceResponse(instanceId=instance_id)

    async def query_instances(self, request: pb.QueryInstancesRequest) -> pb.QueryInstancesResponse:
        """A page of instances, oldest first."""
        return await self._engine.read_current(lambda db: queries.query_instances(db, request.query))

    async def list_instance_ids(self, request: pb.ListInstanceIdsRequest) -> pb.ListInstanceIdsResponse:
        """A page of the ids of ended instances, in the order in which they ended."""
        return await self._engine.read_current(lambda db: queries.list_instance_ids(db, request))

    async def stream_instance_history(
        self, request: pb.StreamInstanceHistoryRequest
    ) -> AsyncIterator[pb.HistoryChunk]:
        """The history of an instance, in chunks."""
        await self._engine.available()
        instance = self._state.instance(request.instanceId)
        wanted = optional(request, "executionId")
        if instance is None or wanted not in (None, "", instance.execution):
            raise not_found(request.instanceId, wanted)
        if request.forWorkItemProcessing and instance.history is not None:
            fragments = list(instance.history)  # may be ahead of the disk, as the worker's turn is
        else:
            no = instance.no
            fragments = await self._engine.read_current(lambda db: queries.read_history(db, no))
        for chunk in queries.history_chunks(fragments):
            yield chunk

    # -- purging

    async def purge_instances(self, request: pb.PurgeInstancesRequest) -> pb.PurgeInstancesResponse:
        """Delete ended instances: one, a list, or all that match a filter, with their children if asked."""
        complete = True
        match request.WhichOneof("request"):
            case "instanceId":
                mistaken = request.isOrchestration and request.instanceId.startswith("@")
                ids = [] if mistaken else [request.instanceId]
                count = await self._purge(ids, recursive=request.recursive)
            case "instanceBatch":
                count = await self._purge(
                    list(request.instanceBatch.instanceIds), recursive=request.recursive
                )
            case "purgeInstanceFilter":
                count, complete = await self._purge_matching(
                    request.purgeInstanceFilter, None, recursive=request.recursive
                )
            case _:
                raise HubError(
                    grpc.StatusCode.INVALID_ARGUMENT, "purge what? no instance and no filter is given"
                )
        return pb.PurgeInstancesResponse(deletedInstanceCount=count, isComplete=BoolValue(value=complete))

    async def _purge_matching(
        self, wanted: pb.PurgeInstanceFilter, ended_before: int | None, *, recursive: bool
    ) -> tuple[int, bool]:
        deadline = None
        if wanted.HasField("timeout"):
            deadline = time.monotonic() + wanted.timeout.ToTimedelta().total_seconds()
        count = 0
        while ids := await self._engine.read_current(
            lambda db: queries.purgeable(db, wanted, ended_before, _PURGED_AT_ONCE)
        ):
            if deadline is not None and time.monotonic() >= deadline:
                return count, False
            purged = await self._purge(ids, recursive=recursive)
            if not purged:
                break
            count += purged
        return count, True

    async def _purge(self, ids: list[str], *, recursive: bool) -> int:
        def purge() -> int:
            count = 0
            removed: set[str] = set()
            wanted = list(ids)
            while wanted:
                instance_id = wanted.pop()
                if instance_id.startswith("@"):
                    count += self._entities.purge(instance_id)
                    continue
                instance = self._state.instance(instance_id)
                if instance is None or instance.live:
                    continue
                if recursive:
                    wanted.extend(child.id for child in self._state.children(instance_id))
                self._instances.remove(instance)
                removed.add(instance_id)
                count += 1
            if count:
                self._state.call_off_activities(removed)
                self._engine.journal.shrink()
            return count

        return await self._engine.change(purge)

    async def _retain(self, retention: timedelta) -> None:
        age = int(retention.total_seconds() * SECOND)
        clock = self._engine.clock
        while True:
            try:
                await self._purge_matching(pb.PurgeInstanceFilter(), clock.now() - age, recursive=False)
            except HubError as error:
                _log.warning("instances past their retention are not purged this time: %s", error)
            await clock.sleep_until(clock.now() + _RETENTION_CHECK_S * SECOND)

    # -- entities

    async def signal_entity(self, request: pb.SignalEntityRequest) -> pb.SignalEntityResponse:
        """Send an operation to an entity, at once or for later."""
        signal = pb.EntityOperationSignaledEvent(
            requestId=request.requestId,
            operation=request.name,
            input=text(optional(request, "input")),
            targetInstanceId=text(request.instanceId),
        )
        if request.HasField("scheduledTime"):
            signal.scheduledTime.CopyFrom(request.scheduledTime)
        await self._engine.change(lambda: self._entities.signal(request.instanceId, signal))
        return pb.SignalEntityResponse()

    async def get_entity(self, request: pb.GetEntityRequest) -> pb.GetEntityResponse:
        """An entity and its state."""
        return await self._engine.look_current(
            lambda db: queries.read_entity(db, request, self._state.backlog)
        )

    async def query_entities(self, request: pb.QueryEntitiesRequest) -> pb.QueryEntitiesResponse:
        """A page of entities, by id."""
        return await self._engine.read_current(
            lambda db: queries.query_entities(db, request.query, self._state.backlog)
        )

    async def clean_entity_storage(
        self, request: pb.CleanEntityStorageRequest
    ) -> pb.CleanEntityStorageResponse:
        """Remove what an entity leaves behind: here that is only a lock whose holder is gone."""
        ids = await self._engine.read_current(queries.locked_entities)

        def clean() -> tuple[int, int]:
            released = removed = 0
            for entity_id in ids:
                entity = self._state.entity(entity_id)
                holder = self._state.instance(entity.locked_by) if entity.locked_by else None
                if request.releaseOrphanedLocks and entity.locked_by and (holder is None or not holder.live):
                    self._entities.free(entity)
                    released += 1
                    removed += request.removeEmptyEntities and entity.state is None
            return removed, released

        removed, released = await self._engine.change(clean)
        return pb.CleanEntityStorageResponse(emptyEntitiesRemoved=removed, orphanedLocksReleased=released)

    # -- the hub itself

    async def create_task_hub(self, request: pb.CreateTaskHubRequest) -> pb.CreateTaskHubResponse:
        """The hub exists while it is open; on request it is emptied."""
        if request.recreateIfExists:
            await self._engine.erase()
        return pb.CreateTaskHubResponse()

    async def delete_task_hub(self, request: pb.DeleteTaskHubRequest) -> pb.DeleteTaskHubResponse:
        """Delete everything in the hub."""
        await self._engine.erase()
        return pb.DeleteTaskHubResponse()


def _state(connection: sqlite3.Connection, request: pb.GetInstanceRequest) -> pb.GetInstanceResponse:
    return queries.read_state(connection, request.instanceId, payloads=request.getInputsAndOutputs)
