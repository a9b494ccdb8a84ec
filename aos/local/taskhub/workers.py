"""The calls that workers make: fetching work items, and bringing back what became of them."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc

from aos.local.taskhub import events, queries, workitems
from aos.local.taskhub.dispatch import Lease
from aos.local.taskhub.engine import Engine
from aos.local.taskhub.errors import HubError
from aos.local.taskhub.records import Entity, Instance, Kind
from aos.local.taskhub.schema import ACTIVITIES
from aos.local.taskhub.turns import Turn

_PING = pb.WorkItem(healthPing=pb.HealthPing()).SerializeToString()


class WorkerCalls:
    """The worker's half of the hub."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._state = engine.state
        self._instances = engine.instances
        self._entities = engine.entities
        self._dispatcher = engine.dispatcher
        self._work_ended = False

    async def work_items(self, request: pb.GetWorkItemsRequest) -> AsyncIterator[pb.WorkItem]:
        """The work for one connected worker; closing the iterator gives back what it holds, at once."""
        stream = self.encoded_work_items(request)
        try:
            async for item in stream:
                yield pb.WorkItem.FromString(item)
        finally:
            await stream.aclose()

    async def encoded_work_items(
        self, request: pb.GetWorkItemsRequest, *, ping_after_s: float | None = None
    ) -> AsyncGenerator[bytes]:
        """As `work_items`, each item in its wire form; with a health ping after each silence so long."""
        async with aclosing(self.leases(request, ping_after_s=ping_after_s)) as leases:
            async for lease in leases:
                if lease is None:
                    yield _PING
                else:
                    item = workitems.encode(lease)
                    lease.size = len(item)
                    yield item

    async def leases(
        self, request: pb.GetWorkItemsRequest, *, ping_after_s: float | None = None
    ) -> AsyncGenerator[Lease | None]:
        """As `work_items`, for a worker in this process; None after each silence so long."""
        worker = self._dispatcher.connect(request)
        try:
            while not self._work_ended:
                lease = self._dispatcher.take(worker)
                if lease is None:
                    worker.work.clear()
                    try:
                        async with asyncio.timeout(ping_after_s):
                            await worker.work.wait()
                    except TimeoutError:
                        yield None
                elif await self._prepare(lease):
                    yield lease
        finally:
            self._dispatcher.disconnect(worker)

    def holds(self, lease: Lease) -> bool:
        """Whether what comes of this work still counts."""
        return self._dispatcher.leases.get(lease.token) is lease

    def put_back(self, lease: Lease) -> None:
        """Give back work that was not done."""
        self._dispatcher.abandon(lease.token)

    def end_work(self) -> None:
        """End all streams of work items, for good; what they had leased goes back."""
        self._work_ended = True
        self._dispatcher.wake()

    async def _prepare(self, lease: Lease) -> bool:
        """Make the item complete; False if the lease was lost meanwhile."""
        instance = lease.item
        if isinstance(instance, Instance):
            if instance.history is None:
                no = instance.no
                try:
                    fragments = await self._engine.read(lambda db: queries.read_history(db, no))
                except HubError:
                    self._dispatcher.abandon(lease.token)
                    return False
                if self._dispatcher.leases.get(lease.token) is not lease:
                    return False
                self._state.set_history(instance, fragments)
            lease.started = events.turn_started(self._engine.clock.now())
        return True

    # -- orchestrations

    async def complete_orchestrator(self, response: pb.OrchestratorResponse) -> pb.CompleteTaskResponse:
        """Take in a turn. One whose token is not that of a current lease is ignored."""
        try:
            await self._engine.change(lambda: self._complete_turn(response))
        except sqlite3.Error:
            raise
        except Exception as error:
            if not _of_the_turn(error):
                raise
            why = f"{type(error).__name__}: {error}"
            await self._engine.change(lambda: self._fail(response.instanceId, why))
        return pb.CompleteTaskResponse()

    def post_turn(self, response: pb.OrchestratorResponse) -> None:
        """As `complete_orchestrator`, for a worker in this process: it need not wait for the disk."""
        try:
            self._engine.post(lambda: self._complete_turn(response))
        except Exception as error:
            if not _of_the_turn(error):
                raise
            why = f"{type(error).__name__}: {error}"
            self._engine.post(lambda: self._fail(response.instanceId, why))

    def _complete_turn(self, response: pb.OrchestratorResponse) -> None:
        lease = self._dispatcher.answered(response.completionToken)
        if lease is None or not isinstance(lease.item, Instance):
            return
        if response.isPartial:
            # By number, as one whose acknowledgement was lost is sent again.
            at = response.chunkIndex.value if response.HasField("chunkIndex") else len(lease.chunks)
            lease.chunks[at] = response
            return
        if response.requiresHistory:
            self._dispatcher.abandon(lease.token)
            return
        chunks = [*(lease.chunks[at] for at in sorted(lease.chunks)), response]
        actions = [action for chunk in chunks for action in chunk.actions]
        self._dispatcher.release(lease)
        # What is not an action is in the first: later ones say that they process no event.
        Turn(self._state, self._instances, self._entities, lease, lease.item).apply(chunks[0], actions)

    def _fail(self, instance_id: str, why: str) -> None:
        instance = self._state.instance(instance_id)
        if instance is not None and instance.live:
            details = pb.TaskFailureDetails(
                errorType="InvalidTurn", errorMessage=f"the turn could not be carried out: {why}"
            )
            now = self._engine.clock.now()
            self._instances.end(instance, events.ended(now, pb.ORCHESTRATION_STATUS_FAILED, None, details))

    async def abandon_orchestrator(
        self, request: pb.AbandonOrchestrationTaskRequest
    ) -> pb.AbandonOrchestrationTaskResponse:
        """Give a turn back."""
        self._dispatcher.abandon(request.completionToken)
        return pb.AbandonOrchestrationTaskResponse()

    # -- activities

    async def complete_activity(self, response: pb.ActivityResponse) -> pb.CompleteTaskResponse:
        """Take in the result of an activity; only its first completion counts."""
        await self._engine.change(lambda: self._complete_activity(response))
        return pb.CompleteTaskResponse()

    def post_activity(self, response: pb.ActivityResponse) -> None:
        """As `complete_activity`, for a worker in this process."""
        self._engine.post(lambda: self._complete_activity(response))

    def _complete_activity(self, response: pb.ActivityResponse) -> None:
        seq = self._dispatcher.activity_of(response.completionToken)
        activity = self._state.activities.pop(seq, None) if seq is not None else None
        if activity is None:
            return
        activity.done = True
        if activity.lease is not None:
            self._dispatcher.release(activity.lease)
        self._engine.journal.delete(ACTIVITIES, activity.seq)
        event = events.new(self._engine.clock.now())
        if response.HasField("failureDetails"):
            event.taskFailed.taskScheduledId = activity.task
            event.taskFailed.failureDetails.CopyFrom(response.failureDetails)
        else:
            event.taskCompleted.taskScheduledId = activity.task
            if response.HasField("result"):
                event.taskCompleted.result.CopyFrom(response.result)
        self._state.send(activity.instance, Kind.RESULT, event, execution=activity.execution)

    async def abandon_activity(
        self, request: pb.AbandonActivityTaskRequest
    ) -> pb.AbandonActivityTaskResponse:
        """Give an activity back."""
        self._dispatcher.abandon(request.completionToken)
        return pb.AbandonActivityTaskResponse()

    # -- entities

    async def complete_entity(self, result: pb.EntityBatchResult) -> pb.CompleteTaskResponse:
        """Take in a batch. One whose token is not that of a current lease is ignored."""
        await self._engine.change(lambda: self._complete_entity(result))
        return pb.CompleteTaskResponse()

    def post_entity(self, result: pb.EntityBatchResult) -> None:
        """As `complete_entity`, for a worker in this process."""
        self._engine.post(lambda: self._complete_entity(result))

    def _complete_entity(self, result: pb.EntityBatchResult) -> None:
        lease = self._dispatcher.answered(result.completionToken)
        if lease is None or not isinstance(lease.item, Entity):
            return
        if result.requiresState:
            self._dispatcher.abandon(lease.token)
            return
        self._entities.complete(lease, lease.item, result)

    async def abandon_entity(self, request: pb.AbandonEntityTaskRequest) -> pb.AbandonEntityTaskResponse:
        """Give a batch of operations back."""
        self._dispatcher.abandon(request.completionToken)
        return pb.AbandonEntityTaskResponse()


def _of_the_turn(error: Exception) -> bool:
    """Whether a turn itself cannot be carried out: it would come again, and fail again, for ever."""
    return not isinstance(error, HubError) or error.code is grpc.StatusCode.INVALID_ARGUMENT
