"""A hub in this process and a worker that does what a test says, in protocol messages."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta

import durabletask.internal.orchestrator_service_pb2 as pb

from aos.local.taskhub import TaskHub

WAIT_S = 20


class ManualClock:
    """A clock that goes only when it is moved."""

    def __init__(self) -> None:
        self._now = 1_900_000_000_000_000
        self._moved: list[asyncio.Future[None]] = []

    def now(self) -> int:
        return self._now

    async def sleep_until(self, when: int) -> None:
        while self._now < when:
            moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._moved.append(moved)
            await moved

    def advance(self, by: timedelta) -> None:
        self._now += int(by.total_seconds() * 1_000_000)
        moved, self._moved = self._moved, []
        for future in moved:
            if not future.done():
                future.set_result(None)


class ScriptedWorker:
    """One stream of work items, taken one by one."""

    def __init__(self, hub: TaskHub, request: pb.GetWorkItemsRequest | None = None) -> None:
        self.hub = hub
        self._items: AsyncIterator[pb.WorkItem] = hub.work_items(request or pb.GetWorkItemsRequest())

    async def take(self) -> pb.WorkItem:
        async with asyncio.timeout(WAIT_S):
            return await anext(self._items)

    async def nothing_comes(self) -> bool:
        """No work is there, also after what is under way has been done."""
        waiting = asyncio.ensure_future(anext(self._items))
        await asyncio.wait([waiting], timeout=0.05)
        came = waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])
        return not came

    async def close(self) -> None:
        await self._items.aclose()  # type: ignore[attr-defined]


def turn(item: pb.WorkItem, *actions: pb.OrchestratorAction, **fields: object) -> pb.OrchestratorResponse:
    """The answer to an orchestrator's work item."""
    return pb.OrchestratorResponse(
        instanceId=item.orchestratorRequest.instanceId,
        completionToken=item.completionToken,
        actions=actions,
        **fields,  # type: ignore[arg-type]
    )


def schedule(task: int, name: str = "act") -> pb.OrchestratorAction:
    return pb.OrchestratorAction(id=task, scheduleTask=pb.ScheduleTaskAction(name=name))


def complete(result: str = "1") -> pb.OrchestratorAction:
    ends = pb.CompleteOrchestrationAction(
        orchestrationStatus=pb.ORCHESTRATION_STATUS_COMPLETED, result={"value": result}
    )
    return pb.OrchestratorAction(id=99, completeOrchestration=ends)


def kinds(events: Iterable[pb.HistoryEvent]) -> list[str]:
    """The kinds of history events, as the protocol names them."""
    return [event.WhichOneof("eventType") for event in events]


async def start(hub: TaskHub, instance_id: str, name: str = "orch") -> None:
    await hub.start_instance(pb.CreateInstanceRequest(instanceId=instance_id, name=name))


async def state(hub: TaskHub, instance_id: str) -> pb.OrchestrationState:
    request = pb.GetInstanceRequest(instanceId=instance_id, getInputsAndOutputs=True)
    return (await hub.get_instance(request)).orchestrationState
