"""Tools: typed functions that agents and workflows may call, with their effect declared.

What a call's end says about its effect, to the caller of `Tool.call`:

- it returns: the effect happened (for ``effect="none"`` there is none to happen);
- it raises `ToolFailed`: the effect did **not** happen, and will not by this call;
- `InvalidInput` from `Tool.check`, which comes before anything is claimed: nothing was called;
- it raises anything else, or does not end by its deadline: the call failed. For ``none`` that is
  all. For ``idempotent`` the call is made again with the same key; for ``queryable`` the target is
  asked; for ``once`` the effect's outcome is unknown until an operator says what happened.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

from pydantic_core import to_jsonable_python

from aos.kernel.agents.definition import Effect, ToolDefinition
from aos.kernel.canonical import Json, encode
from aos.kernel.errors import AosError, InvalidDefinition
from aos.kernel.ids import check_id
from aos.sdk.context import ToolContext
from aos.sdk.docstring import summary
from aos.sdk.parameters import Parameters, parameters_of

type Query = Callable[[str, ToolContext], Awaitable[Any]]
"""Asked with an idempotency key: the result of the call with that key, or None when it did not happen."""


class ToolFailed(AosError):
    """The tool refused or could not do what was asked, and its effect did not happen.

    Raise it only where that is known: before the target was called, or when the target said no.
    ``retryable`` says that the same call may succeed later.
    """

    code = "tool_failed"

    def __init__(self, message: str, /, *, retryable: bool = False, **details: Any) -> None:
        super().__init__(message, **details)
        self.retryable = retryable


class Tool[**P, R]:
    """A tool: its definition, and the function behind it. Called as a function, it is that function."""

    definition: ToolDefinition

    def __init__(
        self,
        function: Callable[P, R],
        definition: ToolDefinition,
        parameters: Parameters,
        query: Query | None,
    ) -> None:
        functools.update_wrapper(self, function)
        self.definition = definition
        self._function = function
        self._parameters = parameters
        self._query = query

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, with nothing checked: for tests and for other code."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Tool({self.name!r}, effect={self.definition.effect.value!r})"

    @property
    def name(self) -> str:
        """The name that agents, workflows and policies know it by."""
        return self.definition.name

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Check the arguments without calling: do this before an effect is claimed.

        Raises:
            InvalidInput: naming each parameter that is wrong, how, and what is allowed.
        """
        self._parameters.parse(arguments, self.name)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> Json:
        """Call the function and return its result as JSON; the module says what each ending means.

        A plain function runs in a thread, which goes on when the caller stops waiting. The caller
        keeps the time: ``context.deadline`` and ``definition.timeout_s``.

        Raises:
            InvalidInput: for wrong arguments; the function was not called.
            ToolFailed: from the function; the effect did not happen.
            TypeError: when the result is not JSON.
            Exception: whatever else the function raises.
        """
        values = self._parameters.parse(arguments, self.name)
        if self._parameters.context is not None:
            values[self._parameters.context] = context
        # The parameters were parsed by name: a type checker cannot know them as P.
        function: Callable[..., Any] = self._function
        if inspect.iscoroutinefunction(function):
            return self._jsonable(await function(**values))
        return self._jsonable(await asyncio.to_thread(function, **values))

    async def query(self, context: ToolContext) -> Json:
        """Ask the target of a queryable tool what came of the call with ``context.idempotency_key``.

        Returns:
            The result of that call; None when it did not happen.

        Raises:
            InvalidDefinition: when the tool is not queryable.
            Exception: whatever the tool's query raises; then nothing is known.
        """
        if self._query is None:
            raise InvalidDefinition(f"tool {self.name} is not queryable", tool=self.name)
        return self._jsonable(await self._query(context.idempotency_key, context))

    def _jsonable(self, result: Any) -> Json:
        try:
            value: Json = to_jsonable_python(result)
            encode(value)
        except ValueError as error:  # pydantic's serialization error is one too
            raise TypeError(f"tool {self.name} returned what JSON cannot hold: {error}") from error
        return value


type AnyTool = Tool[..., Any]


def tool[**P, R](
    *,
    effect: Effect | Literal["none", "idempotent", "queryable", "once"],
    timeout_s: float = 30.0,
    name: str | None = None,
    query: Query | None = None,
) -> Callable[[Callable[P, R]], Tool[P, R]]:
    """Make a tool of a typed function, plain or async.

    The arguments' schema comes from the annotations; descriptions from ``Args:`` in the docstring
    or from ``Annotated[..., Field(description=...)]``. A parameter annotated `ToolContext` is filled in.

    Args:
        effect: what a call does to the world; it decides what may be done after a crash in a call.
        timeout_s: how long a caller waits for one call.
        name: how the tool is called; without it, as the function is.
        query: with ``queryable`` only: asks the target by idempotency key for the call's result.

    Raises:
        InvalidDefinition: when the function cannot be a tool; the message says why.
    """

    def make(function: Callable[P, R]) -> Tool[P, R]:
        tool_name = check_id(name or str(getattr(function, "__name__", "")), "tool")
        if effect not in tuple(Effect):
            allowed = ", ".join(Effect)
            raise InvalidDefinition(f"tool {tool_name}: effect {effect!r} is not one of {allowed}")
        if (effect == Effect.QUERYABLE) != (query is not None):
            raise InvalidDefinition(
                f"tool {tool_name}: `query` belongs to effect 'queryable', and only there"
            )
        if not 0 < timeout_s < float("inf"):
            raise InvalidDefinition(f"tool {tool_name}: timeout_s {timeout_s} is not above 0")
        description = summary(inspect.getdoc(function) or "")
        if not description:
            raise InvalidDefinition(f"tool {tool_name} has no docstring, which is its description")
        parameters = parameters_of(function)
        definition = ToolDefinition(tool_name, description, parameters.schema, Effect(effect), timeout_s)
        return Tool(function, definition, parameters, query)

    return make
