"""A workflow written in Python: the same definition as its JSON. What is wrong with it the engine says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


#: The fields of a node; whatever else is said of one is a setting of its type.
_FIELDS = frozenset({
    "label", "parent", "position", "disabled", "input", "output_schema", "when", "join", "timeout_s", "heartbeat_s",
    "retry", "on_error", "fallback", "cache", "effect", "pin", "x",
})  # fmt: skip


class Workflow:
    """Builds a definition, node by node; ``engine.workflows.put(**workflow)`` keeps it.

    ::

        triage = (
            blitz.Workflow("triage")
            .start("s")
            .agent("risk", "risk_analyzer", input={"text": "{{ inputs.text }}"}, retry={"max_attempts": 3})
            .choose("high", "nodes.risk.output.score >= 7")
            .approval("ask", "Let it pass?", timeout_s=86_400)
            .end("e")
            .edge("s", "risk").edge("risk", "high").edge("ask", "e", out="approved")
            .edge("high", "ask", out="true").edge("high", "e", out="false")
        )

    A node takes any field of a node as a keyword (``input``, ``when``, ``retry``, ``timeout_s``, ``on_error``, ``join``,
    ``label``, …); whatever else is said of it is a setting of its type, as in ``config``. Nothing is checked here:
    ``engine.workflows.validate(workflow)`` says everything that is wrong.
    """

    __slots__ = ("_definition", "_open")

    def __init__(self, name: str, **fields: Any) -> None:
        """``fields`` are those of a definition: ``description``, ``inputs``, ``outputs``, ``limits``, ``on_error``, …"""
        self._definition: dict[str, Any] = {
            "format": "blitz.workflow/1",
            "name": name,
            **fields,
            "nodes": [],
            "edges": [],
        }
        self._open: list[str] = []

    def build(self) -> dict[str, Any]:
        """The definition, a copy."""
        from copy import deepcopy  # Not needed to begin with: `import blitz` stays small.

        return deepcopy(self._definition)

    def keys(self) -> Iterable[str]:
        """The fields of the definition: ``**workflow`` are the keywords of ``workflows.put``."""
        return self._definition.keys()

    def __getitem__(self, field: str) -> Any:
        from copy import deepcopy

        return deepcopy(self._definition[field])

    def inputs(self, schema: Mapping[str, Any]) -> Self:
        """JSON Schema of the input."""
        self._definition["inputs"] = schema
        return self

    def outputs(self, schema: Mapping[str, Any]) -> Self:
        """JSON Schema of the output; a property may hold ``value``, an expression that gives it."""
        self._definition["outputs"] = schema
        return self

    def var(self, name: str, default: Any = None, merge: str = "replace") -> Self:
        """A variable, and how writes that come side by side are merged."""
        self._definition.setdefault("vars", {})[name] = {"default": default, "merge": merge}
        return self

    def trigger(self, **trigger: Any) -> Self:
        """What starts it beside a call."""
        self._definition.setdefault("triggers", []).append(trigger)
        return self

    def node(self, id: str, type: str, config: Mapping[str, Any] | None = None, **fields: Any) -> Self:
        """A node of any type, with the settings of that type and any field of a node."""
        node: dict[str, Any] = {"id": id, "type": type}
        if self._open:
            node["parent"] = self._open[-1]
        settings = {**(config or {}), **{name: fields.pop(name) for name in [*fields] if name not in _FIELDS}}
        if settings:
            node["config"] = settings
        self._definition["nodes"].append({**node, **fields})
        return self

    def _with(self, id: str, type: str, own: dict[str, Any], fields: dict[str, Any]) -> Self:
        config = {**own, **(fields.pop("config", None) or {})}
        return self.node(id, type, config, **fields)

    def start(self, id: str, **fields: Any) -> Self:
        """Where it begins."""
        return self._with(id, "start", {}, fields)

    def end(self, id: str, output: Any = None, **fields: Any) -> Self:
        """Where a path ends; ``output`` is its part of the result."""
        return self._with(id, "end", {} if output is None else {"output": output}, fields)

    def agent(self, id: str, agent: str, **fields: Any) -> Self:
        """Runs an agent."""
        return self._with(id, "agent", {"agent": agent}, fields)

    def llm(self, id: str, model: str, prompt: str, **fields: Any) -> Self:
        """Asks a model once."""
        return self._with(id, "llm", {"model": model, "prompt": prompt}, fields)

    def tool(self, id: str, tool: str, **fields: Any) -> Self:
        """Calls a tool."""
        return self._with(id, "tool", {"tool": tool}, fields)

    def http(self, id: str, url: str, **fields: Any) -> Self:
        """Sends an HTTP request."""
        return self._with(id, "http", {"url": url}, fields)

    def template(self, id: str, template: str, **fields: Any) -> Self:
        """Makes a text."""
        return self._with(id, "template", {"template": template}, fields)

    def code(self, id: str, expr: str, **fields: Any) -> Self:
        """Evaluates an expression."""
        return self._with(id, "code", {"expr": expr}, fields)

    def set(self, id: str, vars: Mapping[str, Any], **fields: Any) -> Self:
        """Writes variables."""
        return self._with(id, "set", {"vars": dict(vars)}, fields)

    def choose(self, id: str, expr: str, **fields: Any) -> Self:
        """Takes the port ``true`` or ``false``: the type ``if``."""
        return self._with(id, "if", {"expr": expr}, fields)

    def switch(self, id: str, value: str, cases: Mapping[str, Any], **fields: Any) -> Self:
        """Takes the port whose value fits first, or ``default``; ``cases`` are values by port."""
        listed = [{"value": case, "port": port} for port, case in cases.items()]
        return self._with(id, "switch", {"value": value, "cases": listed}, fields)

    def approval(self, id: str, message: str, **fields: Any) -> Self:
        """Asks a person."""
        return self._with(id, "approval", {"message": message}, fields)

    def wait(self, id: str, seconds: int, **fields: Any) -> Self:
        """Waits."""
        return self._with(id, "wait", {"seconds": seconds}, fields)

    def subflow(self, id: str, workflow: str, **fields: Any) -> Self:
        """Runs another workflow."""
        return self._with(id, "subflow", {"workflow": workflow}, fields)

    def fail(self, id: str, message: str, **fields: Any) -> Self:
        """Ends the execution with an error."""
        return self._with(id, "fail", {"message": message}, fields)

    def map(self, id: str, items: Any, body: Callable[[Self], Any], **fields: Any) -> Self:
        """A body for each item of a list; ``body`` builds it."""
        return self._container(id, "map", {"items": items}, body, fields)

    def repeat(self, id: str, max_iterations: int, until: str, body: Callable[[Self], Any], **fields: Any) -> Self:
        """A body that runs again until an expression is true: the type ``loop``; ``body`` builds it."""
        return self._container(id, "loop", {"max_iterations": max_iterations, "until": until}, body, fields)

    def parallel(self, id: str, body: Callable[[Self], Any], **fields: Any) -> Self:
        """Nodes that run side by side; ``body`` builds them."""
        return self._container(id, "parallel", {}, body, fields)

    def _container(
        self, id: str, type: str, own: dict[str, Any], body: Callable[[Self], Any], fields: dict[str, Any]
    ) -> Self:
        self._with(id, type, own, fields)
        self._open.append(id)
        try:
            body(self)
        finally:
            self._open.pop()
        return self

    def edge(self, from_: str, to: str, *, out: str = "out", in_: str = "in") -> Self:
        """An edge, from the port ``out`` where no other is named."""
        edge = {"from": from_, "out": out, "to": to, "in": in_}
        usual = {"out": "out", "in": "in"}
        self._definition["edges"].append({name: port for name, port in edge.items() if usual.get(name) != port})
        return self

    def picture(self, format: str = "mermaid") -> str:
        """A picture of it, ``"mermaid"`` or ``"svg"``."""
        from . import _native

        return _native.draw(self._definition, format)

    def _repr_html_(self) -> str:
        return self.picture("svg")

    def __repr__(self) -> str:
        return f"<Workflow {self._definition['name']!r} of {len(self._definition['nodes'])} nodes>"


Workflow.__module__ = "blitz"
