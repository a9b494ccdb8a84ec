"""A function's annotations as the JSON Schema of its arguments, and arguments checked against them.

Checking is strict (no text for a number, no unknown name, no NaN), also inside nested models, and
reads the arguments as JSON: an ISO 8601 text is a ``date`` where one is asked for.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired

from pydantic import Field, PydanticUserError, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError, to_jsonable_python

from aos.kernel.errors import InvalidDefinition, InvalidInput
from aos.sdk.context import ToolContext
from aos.sdk.docstring import parameter_descriptions

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class ClosedJsonSchema(GenerateJsonSchema):
    """JSON Schema as a model should see it: objects closed, no generated titles."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """No field gets a title made from its name."""
        return False

    def model_schema(self, schema: Any) -> Any:
        """A pydantic model."""
        return _closed(super().model_schema(schema))

    def dataclass_schema(self, schema: Any) -> Any:
        """A dataclass."""
        return _closed(super().dataclass_schema(schema))

    def typed_dict_schema(self, schema: Any) -> Any:
        """A typed dict, as a function's arguments are."""
        return _closed(super().typed_dict_schema(schema))


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    schema.pop("title", None)
    return schema if "$ref" in schema else schema | {"additionalProperties": False}


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a function takes: its arguments' schema, and the parameter that wants the context."""

    schema: Mapping[str, Any]
    names: tuple[str, ...]
    context: str | None
    """The name of the parameter annotated ``ToolContext``, if there is one."""
    _adapter: TypeAdapter[Any]

    def parse(self, arguments: Mapping[str, Any], owner: str) -> dict[str, Any]:
        """Return the arguments as the function wants them; ``owner`` is named in errors.

        Raises:
            InvalidInput: naming each parameter that is wrong, how, and what is allowed.
        """
        try:
            text = json.dumps(arguments, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"{owner}: the arguments are not JSON: {error}") from error
        try:
            return dict(self._adapter.validate_json(text, strict=True, extra="forbid"))
        except ValidationError as error:
            problems = [self._problem(one) for one in error.errors(include_url=False)]
            message = "; ".join(f"{problem['parameter']}: {problem['problem']}" for problem in problems)
            raise InvalidInput(f"{owner}: {message}", problems=problems) from error

    def _problem(self, error: Any) -> dict[str, str]:
        path = ".".join(str(part) for part in error["loc"]) or "arguments"
        problem = str(error["msg"])
        if error["type"] == "extra_forbidden" and len(error["loc"]) == 1:
            problem = f"there is no such parameter; allowed: {', '.join(self.names) or 'none'}"
        elif error["type"] not in {"missing", "extra_forbidden"}:
            problem += f", not {_shortened(error['input'])}"
        return {"parameter": path, "problem": problem}


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def parameters_of(function: Callable[..., Any]) -> Parameters:
    """Read the parameters of ``function`` from its signature, annotations and docstring.

    Raises:
        InvalidDefinition: for a parameter that cannot be given by name, or that has no annotation,
            or one that JSON cannot express.
    """
    name = str(getattr(function, "__name__", repr(function)))
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise InvalidDefinition(f"tool {name}: an annotation cannot be resolved: {error}") from error
    described = parameter_descriptions(inspect.getdoc(function) or "")
    context: str | None = None
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in _NAMED:
            raise InvalidDefinition(f"tool {name}: parameter {parameter} cannot be given by name")
        if parameter.name not in hints:
            raise InvalidDefinition(f"tool {name}: parameter {parameter.name} has no annotation")
        if hints[parameter.name] is ToolContext:
            context = parameter.name
        else:
            fields[parameter.name] = _field(name, parameter, hints[parameter.name], described)
    adapter = _adapter(name, fields)
    schema = adapter.json_schema(schema_generator=ClosedJsonSchema)
    return Parameters(schema | {"properties": schema.get("properties", {})}, tuple(fields), context, adapter)


def _adapter(name: str, fields: dict[str, Any]) -> TypeAdapter[Any]:
    # Made at run time from a signature, which is more than a type checker can follow.
    arguments = typing.TypedDict("arguments", fields)  # type: ignore[misc]
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(arguments)
        adapter.json_schema()
    except PydanticUserError as error:
        raise InvalidDefinition(f"tool {name}: a parameter cannot be expressed in JSON: {error}") from error
    return adapter


def _field(tool: str, parameter: inspect.Parameter, hint: Any, described: Mapping[str, str]) -> Any:
    description = described.get(parameter.name)
    if description is not None and not _has_description(hint):
        hint = Annotated[hint, Field(description=description)]
    if parameter.default is inspect.Parameter.empty:
        return hint
    try:
        default = to_jsonable_python(parameter.default)
    except PydanticSerializationError as error:
        problem = f"tool {tool}: the default of {parameter.name} is not JSON: {error}"
        raise InvalidDefinition(problem) from error
    return NotRequired[Annotated[hint, Field(json_schema_extra={"default": default})]]


def _has_description(hint: Any) -> bool:
    metadata = getattr(hint, "__metadata__", ())
    return any(isinstance(item, FieldInfo) and item.description for item in metadata)
