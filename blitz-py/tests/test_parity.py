"""The parity scenarios, performed in Python: see tests/parity/README.md."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blitz
import pytest
from conftest import WORKSPACE

SCENARIOS = sorted((WORKSPACE / "tests" / "parity").glob("*.json"))


def _does(what: str) -> Callable[..., Any]:
    asked = itertools.count()

    def tool(**given: Any) -> Any:
        first = next(asked) == 0
        if what == "echo":
            return given
        if what == "nothing":
            return None
        if what == "fail":
            raise blitz.ToolFailedError("it broke")
        if what == "retry" and first:
            raise blitz.ToolRetry("try b=3")
        return given["a"] + given["b"]

    return tool


def _node(what: str) -> Callable[..., Any]:
    def node(context: blitz.ToolContext, input: Any = None, **config: Any) -> Any:
        if what == "echo":
            return {"config": config, "input": input}
        if what == "fail":
            raise blitz.ToolFailedError("it broke")
        if what == "port":
            return blitz.NodeOutput(input, port=config["port"])
        if what == "unavailable" and context.attempt == 1:
            raise blitz.UnavailableError("not yet")
        return input["a"] + input["b"]

    return node


def _missing(expected: Any, given: Any, at: str) -> str | None:
    if isinstance(expected, dict) and isinstance(given, dict):
        for name, value in expected.items():
            if name not in given:
                return f"{at}.{name} is missing"
            if problem := _missing(value, given[name], f"{at}.{name}"):
                return problem
        return None
    if isinstance(expected, list) and isinstance(given, list) and len(expected) == len(given):
        found = (_missing(e, g, f"{at}[{i}]") for i, (e, g) in enumerate(zip(expected, given, strict=True)))
        return next((problem for problem in found if problem), None)
    return None if expected == given else f"{at}: expected {expected}, given {given}"


class _Stage:
    """Blocking calls on the engine."""

    def __init__(self, scenario: dict[str, Any]) -> None:
        self.engine = blitz.Engine(":memory:")
        self.me = self.engine.root("parity")
        self.scenario = scenario

    def session(self, login: dict[str, str] | None) -> blitz.Session:
        return self.engine.login(login["email"], login["password"]) if login else self.me

    def provider(self, replies: list[dict[str, Any]]) -> blitz.Scripted | blitz.FunctionModel:
        return blitz.Scripted(replies)

    def prepare(self) -> None:
        self.engine.register_provider(self.provider(self.scenario.get("replies", [])))
        for tool in self.scenario.get("tools", []):
            self.me.register(
                _does(tool["does"]),
                name=tool["name"],
                description=tool.get("description", ""),
                input_schema=tool["input_schema"],
                effect=tool["effect"],
            )

        for node in self.scenario.get("nodes", []):
            fields = {name: node[name] for name in ("description", "config", "input", "ports", "effect") if name in node}
            self.engine.node(_node(node["does"]), name=node["type"], **{"config": {"type": "object"}, **fields})

    def perform(self, step: dict[str, Any]) -> None:
        try:
            output = self.session(step.get("as")).call(step["method"], step["input"])
        except blitz.BlitzError as error:
            assert error.code == step.get("error"), f"{step['method']}: {error.code}: {error}"
            return
        assert "error" not in step, f"{step['method']} went well"
        if "output" in step:
            assert not (problem := _missing(step["output"], output, "output")), f"{step['method']}: {problem}"

    def run(self, run: dict[str, Any]) -> dict[str, Any]:
        options = run.get("options", {})
        try:
            handle = self.session(run.get("as")).start(run["agent"], run.get("input"), **options)
        except blitz.BlitzError as error:
            return {"refused": error.code}
        events, answers = [], iter(run.get("answers", []))
        for event in handle.events():
            events.append(event)
            if event.type == "approval.requested":
                handle.approve(event.data["key"], **next(answers))
        return _seen(events, handle.wait())


class _AsyncStage(_Stage):
    """The same by coroutines."""

    def perform(self, step: dict[str, Any]) -> None:
        async def call() -> Any:
            login = step.get("as")
            session = await self.engine.alogin(login["email"], login["password"]) if login else self.me
            return await session.acall(step["method"], step["input"])

        try:
            output = asyncio.run(call())
        except blitz.BlitzError as error:
            assert error.code == step.get("error"), f"{step['method']}: {error.code}: {error}"
            return
        assert "error" not in step, f"{step['method']} went well"
        if "output" in step:
            assert not (problem := _missing(step["output"], output, "output")), f"{step['method']}: {problem}"

    def run(self, run: dict[str, Any]) -> dict[str, Any]:
        async def events() -> dict[str, Any]:
            options = run.get("options", {})
            try:
                handle = await self.session(run.get("as")).astart(run["agent"], run.get("input"), **options)
            except blitz.BlitzError as error:
                return {"refused": error.code}
            seen, answers = [], iter(run.get("answers", []))
            async for event in handle.aevents():
                seen.append(event)
                if event.type == "approval.requested":
                    await handle.aapprove(event.data["key"], **next(answers))
            return _seen(seen, await handle)

        return asyncio.run(events())


class _HostStage(_Stage):
    """The same with replies that a function of the host gives."""

    def provider(self, replies: list[dict[str, Any]]) -> blitz.FunctionModel:
        left = iter(replies)

        def answer(request: dict[str, Any]) -> Any:
            return next(left, {"error": {"code": "invalid_input", "message": "no answer is left"}})

        return blitz.FunctionModel(answer, name="scripted", free=True, embeds=True)


def _shown(event: blitz.Event) -> list[str]:
    """Its type and path, and of its data the node, the status and the port."""
    data = [(name, event.data.get(name) if isinstance(event.data, dict) else None) for name in ("node", "status", "port")]
    return [event.type, event.path, *(f"{name}={value}" for name, value in data if isinstance(value, str))]


def _seen(events: list[blitz.Event], done: blitz.Outcome[Any]) -> dict[str, Any]:
    listed = [_shown(event) for event in events if not event.type.startswith("model.")]
    groups = [sorted(group) for _, group in itertools.groupby(listed, key=lambda event: event[0])]
    data = done.to_dict()
    return {
        "status": data["status"],
        "output": data["output"],
        "error": data["error"] and data["error"]["code"],
        "usage": data["usage"],
        "cost": data["cost"],
        "steps": data["steps"],
        "events": [event for group in groups for event in group],
    }


@pytest.mark.parametrize("stage", [_Stage, _AsyncStage, _HostStage], ids=["blocking", "coroutines", "host"])
@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_scenario_gives_what_it_says(path: Path, stage: type[_Stage]) -> None:
    scenario = json.loads(path.read_text(encoding="utf-8"))
    on_stage = stage(scenario)
    with on_stage.engine:
        on_stage.prepare()
        for step in scenario.get("setup", []):
            on_stage.perform(step)
        if "run" in scenario:
            assert on_stage.run(scenario["run"]) == scenario["expect"]
        for step in scenario.get("after", []):
            on_stage.perform(step)


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 20
