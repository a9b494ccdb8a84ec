"""How the hub refuses a request."""

import grpc


class HubError(Exception):
    """A request the hub refuses or cannot serve; nothing was changed by it.

    `code` is the gRPC status with which the request ends, the text is for a person.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def not_found(instance_id: str, execution: str | None = None) -> HubError:
    """No instance has this id, or it has not this execution."""
    which = f" with the execution '{execution}'" if execution else ""
    return HubError(grpc.StatusCode.NOT_FOUND, f"no orchestration instance '{instance_id}'{which}")


def refused(message: str) -> HubError:
    """The instance is not in a state that allows the request."""
    return HubError(grpc.StatusCode.FAILED_PRECONDITION, message)
