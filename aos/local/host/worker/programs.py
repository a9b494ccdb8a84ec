"""Orchestrators and entities of the durable SDK, run from the encoded request of a turn or batch.

An orchestration can be kept alive between two of its turns, as with the extended sessions of Durable
Functions: the next turn then takes in what is new instead of replaying all that was before. What the host
sends with that turn must be what the SDK would have replayed since: the events that confirm the actions of
the turn before, then the new ones.
"""

import base64
import itertools
from dataclasses import dataclass
from typing import Any

from aos.local.host.worker.durablesdk import (
    DurableFunctionsWorker,
    OrchestrationExecutor,
    RuntimeOrchestrationContext,
    get_payload_store,
    get_string_value,
    pb,
    suppress_span_emission,
    use_trace_context,
)


class _Executor(OrchestrationExecutor):
    """The SDK's executor, which remembers the context that it works with."""

    context: RuntimeOrchestrationContext | None = None

    def process_event(self, ctx: RuntimeOrchestrationContext, event: pb.HistoryEvent) -> None:
        self.context = ctx
        super().process_event(ctx, event)


@dataclass(frozen=True, slots=True)
class Alive:
    """An orchestration between two turns: its generator, and what the SDK knows of it."""

    executor: _Executor
    context: RuntimeOrchestrationContext
    trace: pb.TraceContext | None

    def go_on(self, body: bytes) -> tuple[bytes, "Alive | None"]:
        """The next turn; as `Orchestrator.turn`."""
        request = pb.OrchestratorRequest.FromString(body)
        context = self.context
        with suppress_span_emission(), use_trace_context(self.trace):
            try:
                context._is_replaying = True
                for event in request.pastEvents:
                    self.executor.process_event(context, event)
                context._is_replaying = False
                for event in request.newEvents:
                    self.executor.process_event(context, event)
            except Exception as error:  # noqa: BLE001 - as the SDK does: it fails the orchestration
                context.set_failed(error)
            response = _response(request, context.get_actions(), context._encoded_custom_status)
        return response, self if _goes_on(self.executor, context) else None


class Orchestrator:
    """An orchestrator function."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self._sdk = DurableFunctionsWorker()

    def turn(self, body: bytes) -> tuple[bytes, Alive | None]:
        """A turn with its whole history: the response, and what the next turn can go on from."""
        if get_payload_store() is not None:
            text = self._sdk.execute_orchestration_request(self._function, base64.b64encode(body).decode())
            return base64.b64decode(text), None
        request = pb.OrchestratorRequest.FromString(body)
        first, last = _starts(request)
        self._sdk._register_orchestrator_once(last.name, self._function)
        executor = self._executor(request)
        trace = first.parentTraceContext if first.HasField("parentTraceContext") else None
        with suppress_span_emission(), use_trace_context(trace):
            result = executor.execute(request.instanceId, request.pastEvents, request.newEvents)
        response = _response(request, result.actions, result.encoded_custom_status)
        context = executor.context
        if context is None or not _goes_on(executor, context):
            return response, None
        return response, Alive(executor, context, trace)

    def _executor(self, request: pb.OrchestratorRequest) -> _Executor:
        sdk = self._sdk
        return _Executor(
            sdk._registry,
            sdk._logger,
            sdk._data_converter,
            persisted_orch_span_id=request.orchestrationTraceContext.spanID.value or None,
            maximum_timer_interval=sdk.maximum_timer_interval,
            exception_properties_provider=sdk._exception_properties_provider,
        )


class EntityProgram:
    """An entity function or class."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self._sdk = DurableFunctionsWorker()

    def batch(self, body: bytes) -> bytes:
        """Run a batch of operations: the result."""
        if get_payload_store() is not None:
            text = self._sdk.execute_entity_batch_request(self._function, base64.b64encode(body).decode())
            return base64.b64decode(text)
        request = pb.EntityBatchRequest.FromString(body)
        result: bytes = self._sdk._run_entity_batch(self._function, request).SerializeToString()
        return result


def _starts(request: pb.OrchestratorRequest) -> tuple[pb.ExecutionStartedEvent, pb.ExecutionStartedEvent]:
    """The first start event, whose trace counts for the SDK, and the last, whose name does."""
    starts = [
        event.executionStarted
        for event in itertools.chain(request.pastEvents, request.newEvents)
        if event.HasField("executionStarted")
    ]
    if not starts:
        raise ValueError("the history has no start event")
    return starts[0], starts[-1]


def _goes_on(executor: _Executor, context: RuntimeOrchestrationContext) -> bool:
    """Whether the orchestration waits for more; one that is suspended is replayed when it is resumed."""
    return not context._is_complete and not executor._is_suspended


def _response(
    request: pb.OrchestratorRequest, actions: list[pb.OrchestratorAction], custom_status: str | None
) -> bytes:
    response = pb.OrchestratorResponse(
        instanceId=request.instanceId, actions=actions, customStatus=get_string_value(custom_status)
    )
    if request.HasField("orchestrationTraceContext"):
        response.orchestrationTraceContext.CopyFrom(request.orchestrationTraceContext)
    encoded: bytes = response.SerializeToString()
    return encoded
