"""What invocations of durable functions come to, as the hub takes it."""

import durabletask.internal.orchestrator_service_pb2 as pb
from google.protobuf.message import DecodeError, Message

from aos.local.host.calls import Failure
from aos.local.taskhub.wire import optional

UNKNOWN_FUNCTION = "FunctionNotFound"
VERSION_MISMATCH = "VersionMismatch"


def failure_details(failure: Failure) -> pb.TaskFailureDetails:
    """A failure as orchestrators see it. A name that nothing answers to is not worth a retry."""
    return pb.TaskFailureDetails(
        errorType=failure.type,
        errorMessage=failure.message,
        stackTrace={"value": failure.trace},
        isNonRetriable=failure.type == UNKNOWN_FUNCTION,
    )


def line(details: pb.TaskFailureDetails) -> str:
    """A failure as it is told to people: without the type's module."""
    return f"{details.errorType.rpartition('.')[2]}: {details.errorMessage}"


def parse(body: bytes, response: Message) -> Failure | None:
    """Fill the response; a failure when the function returned something else."""
    try:
        response.ParseFromString(body)
    except DecodeError as error:
        return Failure(
            "InvalidResponse", f"the function did not return what the durable SDK returns: {error}"
        )
    return None


def complete_children(response: pb.OrchestratorResponse, default: str) -> None:
    """Children that an orchestrator gave no version have that of this app."""
    for action in response.actions:
        if action.HasField("createSubOrchestration") and not optional(
            action.createSubOrchestration, "version"
        ):
            action.createSubOrchestration.version.value = default


def complete_started(result: pb.EntityBatchResult, default: str) -> None:
    """Likewise the orchestrations that an entity starts."""
    for action in result.actions:
        started = action.startNewOrchestration
        if action.HasField("startNewOrchestration") and not optional(started, "version"):
            started.version.value = default


def failed_orchestration(failure: Failure) -> pb.OrchestratorResponse:
    """The orchestration fails."""
    completion = pb.CompleteOrchestrationAction(
        orchestrationStatus=pb.ORCHESTRATION_STATUS_FAILED, failureDetails=failure_details(failure)
    )
    return pb.OrchestratorResponse(actions=[pb.OrchestratorAction(completeOrchestration=completion)])


def failed_operations(request: pb.EntityBatchRequest, failure: Failure) -> pb.EntityBatchResult:
    """Every operation fails and the state stays as it was."""
    failed = pb.OperationResult(failure=pb.OperationResultFailure(failureDetails=failure_details(failure)))
    result = pb.EntityBatchResult(results=[failed] * len(request.operations))
    if request.HasField("entityState"):
        result.entityState.CopyFrom(request.entityState)
    return result
