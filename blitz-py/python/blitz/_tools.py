"""Python functions as tools: the signature gives the schema, the docstring the descriptions."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from . import _docstring, _native
from ._calls import ToolContext, ToolRetry, whole
from ._errors import CLASSES
from ._schema import JsonSchema, Misfit, Shape, _Walk, hints_of, object_schema

_InvalidInput = CLASSES["invalid_input"]


class FunctionSpec:
    """A function as a tool: what the engine registers, and how it is called."""

    _what, _by_name = "tool", "a model gives arguments by name"
    #: What is raised for arguments that are not of their types.
    _misfit: type[Exception] = ToolRetry

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None,
        description: str | None,
        input_schema: Mapping[str, Any] | None,
        local: Mapping[str, Any] | None,
    ) -> None:
        if not callable(function):
            raise _InvalidInput(f"a {self._what} is made of a function, and no {type(function).__name__}")
        self._function = function
        called = _code_of(function)
        self.is_async = inspect.iscoroutinefunction(called)
        self.name = name if name is not None else str(getattr(function, "__name__", type(function).__name__))
        self._refuse(called)
        text, described = _docstring.read(function)
        self.description = text if description is None else description
        self._context: str | None = None
        self._positional = _positional_only(function)
        self._shapes: dict[str, Shape] = {}
        self._open = False
        if input_schema is None:
            self.input_schema = self._read_signature(described, local)
        else:
            self.input_schema = dict(input_schema)
            self._context = self._context_of(called, local)

    def _context_of(self, called: Any, local: Mapping[str, Any] | None) -> str | None:
        hints = hints_of(called, local)
        return next((name for name, hint in hints.items() if _is_context(hint) and name != "return"), None)

    def _read_signature(self, described: dict[str, str], local: Mapping[str, Any] | None) -> JsonSchema:
        hints = hints_of(_code_of(self._function), local)
        walk = _Walk()
        required: list[str] = []
        defaults: dict[str, Any] = {}
        for parameter in inspect.signature(self._function).parameters.values():
            hint = hints.get(parameter.name, Any)
            if _is_context(hint):
                self._context = parameter.name
                continue
            if parameter.kind is parameter.VAR_POSITIONAL:
                raise _InvalidInput(f"the {self._what} {self.name!r} takes *{parameter.name}: {self._by_name}")
            if parameter.kind is parameter.VAR_KEYWORD:
                self._open = True
                continue
            if type(parameter.default).__name__ == "FieldInfo":
                self._refuse_field(parameter)
            shape = walk.shape(hint)
            if parameter.name in described and "description" not in shape.schema:
                shape = Shape({**shape.schema, "description": described[parameter.name]}, shape.read)
            self._shapes[parameter.name] = shape
            if parameter.default is parameter.empty:
                required.append(parameter.name)
            else:
                defaults[parameter.name] = parameter.default
        schema = object_schema(self._shapes, required, defaults, "")
        if self._open:
            schema["additionalProperties"] = True
        return {**schema, "$defs": walk.defs} if walk.defs else schema

    def _refuse(self, called: Any) -> None:
        """Refuses what can be called, and not served."""
        if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
            raise _InvalidInput(f"the {self._what} {self.name!r} is a generator: return a list of what it yields")
        first = next(iter(_parameters(self._function)), None)
        if first is not None and first.name in ("self", "cls") and first.annotation is first.empty:
            raise _InvalidInput(
                f"the {self._what} {self.name!r} is a method that belongs to no object yet: register the one of an object,"
                f" as engine.{self._what}(thing.{self.name})"
            )

    def _refuse_field(self, parameter: inspect.Parameter) -> None:
        # The function itself would get it in place of a value.
        default = repr(parameter.default.default).replace("PydanticUndefined", "…")
        raise _InvalidInput(
            f"the default of {parameter.name!r} of the {self._what} {self.name!r} is a pydantic Field:"
            f" write Annotated[…, Field(…)] = {default}"
        )

    def _given(self, call: _native.Call) -> dict[str, Any]:
        given: dict[str, Any] = call.input()
        return given

    def _bound(self, call: _native.Call) -> tuple[list[Any], dict[str, Any]]:
        given = self._given(call)
        named: dict[str, Any] = {}
        for name, value in given.items():
            shape = self._shapes.get(name)
            try:
                named[name] = value if shape is None else shape.read(value)
            except (ValueError, TypeError) as error:
                place = f"{name}{error}" if isinstance(error, Misfit) and str(error)[:1] in ".[" else f"{name}: {error}"
                raise self._misfit(f"the arguments do not fit: {place}") from error
        if self._context is not None:
            named[self._context] = ToolContext(call.context)
        positional: list[Any] = []
        for name, default in self._positional.items():
            if name in named:
                positional.append(named.pop(name))
            elif default is not inspect.Parameter.empty:
                # Each has its place: what comes behind it would move up.
                positional.append(default)
            else:
                break
        return positional, named

    def call(self, call: _native.Call) -> Any:
        """Calls a plain function."""
        positional, named = self._bound(call)
        return whole(self._function(*positional, **named))

    async def call_async(self, call: _native.Call) -> Any:
        """Calls an async function."""
        positional, named = self._bound(call)
        return await self._function(*positional, **named)


def _positional_only(function: Any) -> dict[str, Any]:
    """The parameters that have no name for a caller, with their defaults."""
    return {each.name: each.default for each in _parameters(function) if each.kind is each.POSITIONAL_ONLY}


def _parameters(function: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        # A builtin may have none that can be read.
        return []


def _is_context(hint: Any) -> bool:
    """Whether an annotation means the call's context: ``Optional`` and ``Annotated`` around it say nothing more."""
    if hint is ToolContext:
        return True
    if typing.get_origin(hint) is typing.Annotated:
        return _is_context(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_is_context(each) for each in typing.get_args(hint))
    return False


def _code_of(function: Any) -> Any:
    """The function behind a partial or a callable object: it has the annotations."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__
