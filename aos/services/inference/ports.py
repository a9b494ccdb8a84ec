"""The port that the step loop speaks through, and how a turn can fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from aos.kernel.agents.definition import Schema, ToolDefinition
from aos.kernel.errors import AosError, Unavailable
from aos.services.inference.messages import Message, ModelReply


class ModelUnavailable(Unavailable):
    """The model does not answer now; ``retry_after_s`` is what the endpoint asked for, if it did."""

    code = "model_unavailable"

    def __init__(self, message: str, /, *, retry_after_s: float | None = None, provider: str) -> None:
        super().__init__(message, retry_after_s=retry_after_s, provider=provider)
        self.retry_after_s = retry_after_s


class ModelRejected(AosError):
    """The endpoint refuses the request and would again: a wrong key, model or request, or no quota."""

    code = "model_rejected"

    def __init__(self, message: str, /, *, status: int, provider: str) -> None:
        super().__init__(message, status=status, provider=provider)
        self.status = status


class ModelTruncated(AosError):
    """The reply was cut off at the output limit. It was paid for: ``reply`` has its usage."""

    code = "model_truncated"

    def __init__(self, reply: ModelReply, max_output_tokens: int) -> None:
        super().__init__(
            f"{reply.provider}: the reply of {reply.model} was cut off at {max_output_tokens} output tokens",
            provider=reply.provider,
            model=reply.model,
            max_output_tokens=max_output_tokens,
        )
        self.reply = reply


class ModelClient(Protocol):
    """One turn of a model at a time. It declares tools to the model and never calls one."""

    provider: str
    default_model: str

    def model_for(self, model: str | None) -> str:
        """Return the model that answers when ``model`` is asked for: the name to price a call by."""
        ...

    async def complete(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolDefinition],
        *,
        model: str | None,
        output_schema: Schema | None,
        max_output_tokens: int,
        timeout_s: float,
    ) -> ModelReply:
        """Ask for the next message of a conversation.

        ``timeout_s`` covers everything, retries and their pauses included. The reply's text is not
        checked against ``output_schema``: that is the caller's to do, and to tell the model.

        Raises:
            ModelUnavailable: no answer in time, and the same call may succeed later.
            ModelRejected: the same call would be refused again.
            ModelTruncated: the answer did not fit into ``max_output_tokens``.
        """
        ...

    def count_tokens(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolDefinition],
        output_schema: Schema | None = None,
    ) -> int:
        """Estimate from above the input tokens of a call, for its reservation."""
        ...

    async def close(self) -> None:
        """Give up connections; may be called twice."""
        ...
