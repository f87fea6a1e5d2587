"""Python functions as types of workflow nodes: parameters are a node's settings, ``input`` is what it is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import _native
from ._calls import NodeOutput
from ._schema import JsonSchema, _whole
from ._tools import FunctionSpec, _InvalidInput


class NodeSpec(FunctionSpec):
    """A function as a type of nodes: what the engine registers, and how it is called."""

    _what, _by_name = "node", "settings have names"
    _misfit = _InvalidInput

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None,
        description: str | None,
        config: Mapping[str, Any] | None,
        input: Mapping[str, Any] | None,
        ports: Sequence[str] | None,
        effect: str,
        local: Mapping[str, Any] | None,
    ) -> None:
        super().__init__(function, name=name, description=description, input_schema=config, local=local)
        parameters = inspect.signature(function).parameters
        self._takes_input = "input" in parameters
        settings, own = (self.input_schema, None) if config is not None else _parted(self.input_schema)
        given = dict(input) if input is not None else own
        self.info: dict[str, Any] = {
            "type": self.name,
            "description": self.description,
            "config": settings,
            "effect": effect,
        }
        if given is not None:
            self.info["input"] = given
        if ports is not None:
            self.info["ports"] = list(ports)

    def _given(self, call: _native.Call) -> dict[str, Any]:
        work = call.input()
        return {**work["config"], **({"input": work["input"]} if self._takes_input else {})}

    def call(self, call: _native.Call) -> Any:
        """Calls a plain function."""
        return _left(super().call(call))

    async def call_async(self, call: _native.Call) -> Any:
        """Calls an async function."""
        return _left(await super().call_async(call))


def _left(given: Any) -> dict[str, Any]:
    left = given if isinstance(given, NodeOutput) else NodeOutput(given)
    return {"port": left.port, "output": left.output}


def _parted(schema: JsonSchema) -> tuple[JsonSchema, JsonSchema | None]:
    """The settings, and what is given, of the parameters of a function."""
    properties = dict(schema.get("properties", {}))
    given = properties.pop("input", None)
    settings = {**schema, "properties": properties}
    if "required" in schema:
        settings["required"] = [name for name in schema["required"] if name != "input"]
    # What is not annotated may be anything.
    return settings, _whole(given, schema.get("$defs", {})) if given and set(given) - {"description"} else None
